// What is wrong with a tokenizer is said in one sentence that names the file and the place.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

Json sound() {
  return Json::parse(R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
}

// The message of the error for `json`; empty if it is accepted.
std::string complaint(const Json& json) {
  try {
    Tokenizer::from_json(json.dump(), "dir/tokenizer.json");
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
}

TEST(TokenizerRefusals, EachNamesTheFileAndThePlace) {
  ASSERT_EQ(complaint(sound()), "");
  struct Case {
    std::function<void(Json&)> damage;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {[](Json& j) { j["model"]["type"] = "Unigram"; }, {"model", "Unigram"}},
      {[](Json& j) { j["model"]["byte_fallback"] = true; }, {"model.byte_fallback"}},
      {[](Json& j) { j["model"]["dropout"] = 0.1; }, {"model.dropout", "0.1"}},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, {"model.end_of_word_suffix", "</w>"}},
      {[](Json& j) { j["model"]["merges"] = Json::array({"a b c"}); },
       {"model.merges[0]", "two tokens", "a b c"}},
      {[](Json& j) { j["model"]["merges"] = Json::parse(R"([["a", "b"], ["b", "z"]])"); },
       {"model.merges[1]", "bz"}},
      {[](Json& j) { j["model"]["merges"] = Json::parse(R"([["a", 5]])"); }, {"model.merges[0]"}},
      {[](Json& j) { j["model"]["merges"] = 7; }, {"model.merges", "a list"}},
      {[](Json& j) { j["model"]["vocab"]["c"] = 1; }, {"model.vocab", "the id 1", "b and c"}},
      {[](Json& j) { j["model"]["vocab"]["c"] = -1; }, {"model.vocab", "c", "-1"}},
      {[](Json& j) { j["model"]["vocab"]["c"] = 900000000; }, {"900000000"}},
      {[](Json& j) { j["model"].erase("vocab"); }, {"model.vocab"}},
      {[](Json& j) { j["model"]["unk_token"] = "<unk>"; }, {"model.unk_token", "<unk>"}},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Lowercase"}};
       },
       {"normalizer", "Lowercase"}},
      {[](Json& j) { j["pre_tokenizer"] = nullptr; }, {"pre_tokenizer", "ByteLevel"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["type"] = "Metaspace"; },
       {"pre_tokenizer.pretokenizers[0]", "Metaspace"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Odd"; },
       {"pretokenizers[0]", "Odd"}},
      {[](Json& j) {
         std::swap(j["pre_tokenizer"]["pretokenizers"][0], j["pre_tokenizer"]["pretokenizers"][1]);
       },
       {"pretokenizers[1]", "after ByteLevel"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; },
       {"(a", "does not compile"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\p{Greek}"; },
       {"\\p{Greek}"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a&&b]"; }, {"&&"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; }, {"\\w"}},
      {[](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "a{1,2}+"; }, {"}+"}},
      {[](Json& j) {
         j["decoder"] = {{"type", "WordPiece"}};
       },
       {"decoder", "WordPiece"}},
      {[](Json& j) { j["decoder"] = nullptr; }, {"decoder"}},
      {[](Json& j) {
         j["post_processor"] = {{"type", "BertProcessing"}};
       },
       {"post_processor", "BertProcessing"}},
      {[](Json& j) {
         j["post_processor"] =
             Json::parse(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
           {"Sequence": {"id": "A"}}], "special_tokens": {}})");
       },
       {"post_processor.single[0]", "<s>"}},
      {[](Json& j) {
         j["post_processor"] =
             Json::parse(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
           {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [77]}}})");
       },
       {"post_processor", "77"}},
      {[](Json& j) { j["added_tokens"][0]["id"] = 2; }, {"the id 2", "ab and <s>"}},
      {[](Json& j) { j["added_tokens"][0]["id"] = 9; }, {"<s>", "the id 9", "free id is 3"}},
      {[](Json& j) { j["added_tokens"][0]["content"] = "a"; }, {"token a has two ids", "0 and 3"}},
      {[](Json& j) { j["added_tokens"][0]["content"] = ""; }, {"added_tokens[0].content"}},
      {[](Json& j) { j["added_tokens"][0]["id"] = "x"; }, {"added_tokens[0].id"}},
      {[](Json& j) { j["added_tokens"][0]["special"] = 1; }, {"added_tokens[0].special", "true or false"}},
      {[](Json& j) { j["added_tokens"] = 1; }, {"added_tokens", "a list"}},
      {[](Json& j) { j = Json::array(); }, {"not a tokenizer.json"}},
  };
  for (const Case& one : cases) {
    Json json = sound();
    one.damage(json);
    const std::string text = complaint(json);
    EXPECT_TRUE(text.starts_with("error: dir/tokenizer.json")) << json << text;
    for (const std::string& word : one.words)
      EXPECT_NE(text.find(word), std::string::npos) << word << "\n" << text;
  }
}

TEST(TokenizerRefusals, TruncatedJsonNamesTheLine) {
  const std::string text = sound().dump(1);
  for (std::size_t size = 0; size < text.size() - 1; size += 7) {
    try {
      Tokenizer::from_json(text.substr(0, size), "t.json");
      FAIL() << size;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("t.json:"), std::string::npos) << error.what();
    }
  }
}

// Whatever byte is changed, there is either a tokenizer or a bad_input: nothing else, and no crash.
TEST(TokenizerRefusals, DamagedFilesNeverCrash) {
  std::mt19937_64 random(test::fresh_seed());
  const std::string text = sound().dump(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = text;
    for (std::size_t k = 1 + random() % 3; k-- > 0;) {
      damaged[random() % damaged.size()] =
          static_cast<char>(random() % 2 == 0 ? random() : "{}[]\",:0-9\\"[random() % 11]);
    }
    try {
      Tokenizer::from_json(damaged, "t").encode("ab a b");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << damaged;
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

TEST(TokenizerRefusals, RolesMustExist) {
  const test::TemporaryDirectory directory;
  std::ofstream(directory / "tokenizer.json") << sound().dump();
  const auto with = [&](const std::string& config) {
    std::ofstream(directory / "tokenizer_config.json") << config;
    return Tokenizer::load(directory.path());
  };
  EXPECT_EQ(with(R"({"eos_token": "<s>", "bos_token": {"content": "b"}, "chat_template": "x"})").eos_id(), 3);
  EXPECT_EQ(with(R"({"eos_token": null})").eos_id(), -1);
  EXPECT_EQ(
      with(R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]})")
          .chat_template(),
      "d");
  const auto refuses = [&](const std::string& config, const std::string& word) {
    try {
      with(config);
      FAIL() << config;
    } catch (const Error& error) {
      EXPECT_NE(error.render().find("tokenizer_config.json"), std::string::npos) << error.render();
      EXPECT_NE(error.render().find(word), std::string::npos) << error.render();
    }
  };
  refuses(R"({"eos_token": "</s>"})", "</s>");
  refuses(R"({"pad_token": 5})", "pad_token");
  refuses(R"({"chat_template": 5})", "chat_template");
  refuses(R"({"chat_template": [{"name": "a", "template": "r"}, {"name": "b", "template": "d"}]})",
          "default");
  refuses(R"({"added_tokens_decoder": {"x": {}}})", "added_tokens_decoder.x");
  refuses("{", "not valid JSON");
  // A role that is a word of the vocabulary becomes a special token, as in transformers.
  const Tokenizer promoted = with(R"({"eos_token": "ab"})");
  EXPECT_TRUE(promoted.is_special(promoted.eos_id()));
  EXPECT_EQ(promoted.decode(promoted.encode("aabb"), true), "ab");
}

TEST(TokenizerRefusals, ADirectoryWithoutOneIsNamed) {
  const test::TemporaryDirectory directory;
  EXPECT_THROW(
      {
        try {
          Tokenizer::load(directory.path());
        } catch (const Error& error) {
          EXPECT_NE(error.render().find(directory.path()), std::string::npos);
          throw;
        }
      },
      Error);
}

// As HF's tokenizers 0.23 does: what stood around the byte is joined.
TEST(Tokenizer, BytesWithoutATokenAreLeftOutAndCounted) {
  const Tokenizer tokenizer = Tokenizer::from_json(sound().dump(), "dir/tokenizer.json");
  const std::vector<std::pair<std::string, std::vector<std::int32_t>>> wanted = {
      {"ab<s>ba", {2, 3, 1, 0}},  {"abq", {2}},     {"aqb", {2}}, {"q", {}},
      {"ab<s>qba", {2, 3, 1, 0}}, {"a\u00fcb", {2}}};
  for (const auto& [text, ids] : wanted) EXPECT_EQ(tokenizer.encode(text), ids) << text;
  EXPECT_TRUE(tokenizer.may_lose_bytes());
  EXPECT_EQ(tokenizer.lost_bytes("abba"), 0U);
  EXPECT_EQ(tokenizer.lost_bytes("ab<s>b"), 0U) << "an added token needs no tokens for its letters";
  EXPECT_EQ(tokenizer.lost_bytes("a\u00fcbq"), 3U);
  Json with_unknown = sound();
  with_unknown["model"]["unk_token"] = "b";
  const Tokenizer other = Tokenizer::from_json(with_unknown.dump(), "dir/tokenizer.json");
  EXPECT_FALSE(other.may_lose_bytes());
  EXPECT_EQ(other.lost_bytes("q"), 0U);
  EXPECT_EQ(other.encode("q"), (std::vector<std::int32_t>{1}));
}

}  // namespace
}  // namespace rlcpp::tokenizer
