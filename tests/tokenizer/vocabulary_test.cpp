// Tokenizers taken apart into what a GGUF file keeps of them, and put together again: the same ids.
#include "tokenizer/vocabulary.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/durable.h"
#include "base/error.h"
#include "support.h"
#include "tokenizer/qwen3.h"
#include "tokenizer/settings.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

std::string file_of(const std::string& name) {
  return durable::read_file(test::data_path("tokenizer/" + name));
}

// Tokens by id, their kinds, and merges of a tokenizer.json; `added`: with its added tokens.
Vocabulary taken_apart(const Json& json, const std::string& pre_tokenizer, bool added = true) {
  Vocabulary v;
  v.where = "m.gguf";
  v.pre_tokenizer = pre_tokenizer;
  const auto put = [&](std::size_t id, const std::string& token, std::int64_t kind) {
    if (id >= v.tokens.size()) {
      v.tokens.resize(id + 1);
      v.kinds.resize(id + 1, 5);
    }
    v.tokens[id] = token;
    v.kinds[id] = kind;
  };
  for (const auto& [token, id] : json["model"]["vocab"].items()) put(id, token, 1);
  if (added) {
    for (const Json& token : json["added_tokens"])
      put(token["id"], token["content"], token["special"] ? 3 : 4);
  }
  for (const Json& merge : json["model"]["merges"]) {
    v.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return v;
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

void expect_same(const Tokenizer& rebuilt, const Tokenizer& original, const std::string& golden) {
  const Json rows = Json::parse(file_of(golden))["strings"];
  ASSERT_GE(rows.size(), 400U);
  for (const Json& row : rows) {
    const std::string text = from_hex(row[0]);
    ASSERT_EQ(rebuilt.encode(text), original.encode(text)) << row[0];
    ASSERT_EQ(rebuilt.encode(text, false), original.encode(text, false)) << row[0];
  }
  EXPECT_EQ(rebuilt.vocab_size(), original.vocab_size());
  EXPECT_EQ(rebuilt.encode("Hello there", true, true), original.encode("Hello there", true, true));
}

// The genuine tokenizer, with the rows of the embedding that have no token as converters fill them up.
TEST(Vocabulary, Qwen3IsItself) {
  const Json json = Json::parse(test::unpack_xz(test::data_path("tokenizer/qwen3/tokenizer.json.xz")));
  Vocabulary v = taken_apart(json, "qwen2");
  while (v.tokens.size() < 151936) {
    v.tokens.push_back("[PAD" + std::to_string(v.tokens.size()) + "]");
    v.kinds.push_back(5);
  }
  const Tokenizer rebuilt = Tokenizer::from_json(tokenizer_files(v).tokenizer_json, "rebuilt");
  expect_same(rebuilt, test::qwen3(), "qwen3.golden.json");
  for (std::int32_t id = 0; id < rebuilt.vocab_size(); ++id) {
    ASSERT_EQ(rebuilt.token_bytes(id), test::qwen3().token_bytes(id));
    ASSERT_EQ(rebuilt.is_special(id), test::qwen3().is_special(id));
  }
}

// Llama 3's tokens, cut by the rules of three families.
TEST(Vocabulary, EachFamilyCutsAsItsOwn) {
  Json json = Json::parse(file_of("llama3-style.tokenizer.json"));
  // Flags of added tokens are nothing that GGUF keeps; the first one, a plain special token, is what a text
  // begins with.
  json["added_tokens"] = Json::array({json["added_tokens"][0]});
  const Json gpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const Json digits = {{"type", "Sequence"},
                       {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, gpt2}}};
  std::map<std::string, Json> cuts = {
      {"llama-bpe", json["pre_tokenizer"]}, {"gpt-2", gpt2}, {"smollm", digits}};
  std::set<std::vector<std::int32_t>> different;
  for (const auto& [pre, cut] : cuts) {
    SCOPED_TRACE(pre);
    json["pre_tokenizer"] = cut;
    json["model"]["ignore_merges"] = pre == "llama-bpe";
    Vocabulary v = taken_apart(json, pre);
    v.bos = json["added_tokens"][0]["id"];
    v.add_bos = true;
    const auto rebuilt = Tokenizer::from_json(tokenizer_files(v).tokenizer_json, "rebuilt");
    expect_same(rebuilt, Tokenizer::from_json(json.dump(), "original"), "llama3-style.golden.json");
    different.insert(rebuilt.encode("it's 12345\n\n  ...\nWOODCHUCK'S"));
  }
  EXPECT_EQ(different.size(), cuts.size());  // the text tells them apart
}

TEST(Vocabulary, RolesTemplateAndFrame) {
  Vocabulary v;
  v.where = "m.gguf";
  v.pre_tokenizer = "gpt-2";
  v.tokens = {"<s>", "a", "b", "ab", "<unused>", "</s>", "<think>", "[PAD7]"};
  v.kinds = {3, 1, 1, 1, 5, 3, 4, 5};
  v.merges = {"a b"};
  v.bos = 0;
  v.eos = 5;
  v.add_bos = v.add_eos = true;
  v.chat_template = "{{ messages }}";
  const TokenizerFiles files = tokenizer_files(v);
  const test::TemporaryDirectory dir;
  std::ofstream(dir / "tokenizer.json") << files.tokenizer_json;
  std::ofstream(dir / "tokenizer_config.json") << files.tokenizer_config_json;
  const Tokenizer tokens = Tokenizer::load(dir.path());
  EXPECT_EQ(tokens.encode("aab", true, true), (Ids{0, 1, 3, 5}));
  EXPECT_EQ(tokens.encode("ab<think></s>"), (Ids{3, 6, 5}));
  EXPECT_EQ(tokens.bos_token(), "<s>");
  EXPECT_EQ(tokens.eos_id(), 5);
  EXPECT_EQ(tokens.pad_id(), -1);
  EXPECT_TRUE(tokens.is_special(5));
  EXPECT_FALSE(tokens.is_special(6));
  EXPECT_EQ(tokens.vocab_size(), 7);  // the row behind the last token has none
  EXPECT_EQ(tokens.chat_template(), "{{ messages }}");
}

TEST(Vocabulary, RefusesWhatIsNoVocabulary) {
  const auto refused = [](const std::function<void(Vocabulary&)>& change, const std::string& part) {
    Vocabulary v;
    v.where = "m.gguf";
    v.pre_tokenizer = "gpt-2";
    v.tokens = {"a", "b", "ab"};
    v.kinds = {1, 1, 1};
    v.merges = {"a b"};
    change(v);
    try {
      tokenizer_files(v);
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find("m.gguf"), std::string::npos);
      EXPECT_NE(error.render().find(part), std::string::npos) << error.render();
    }
  };
  refused([](Vocabulary& v) { v.tokens.clear(); }, "no tokens");
  refused([](Vocabulary& v) { v.kinds.pop_back(); }, "3 tokens, 2 kinds");
  refused([](Vocabulary& v) { v.kinds[1] = 6; }, "of the kind 6");
  refused([](Vocabulary& v) { v.kinds[1] = -1; }, "of the kind -1");
  refused([](Vocabulary& v) { v.tokens[2] = "a"; }, "tokens 0 and 2 are the same");
  refused([](Vocabulary& v) { v.tokens[2] = "\xFF"; }, "no UTF-8");
  refused([](Vocabulary& v) { v.tokens[2] = ""; }, "empty");
  refused([](Vocabulary& v) { v.merges[0] = "ab"; }, "merge 0 is no pair");
  refused([](Vocabulary& v) { v.merges[0] = "a b a"; }, "merge 0 is no pair");
  refused([](Vocabulary& v) { v.merges[0] = "a c"; }, "merge 0 is no pair");
  refused([](Vocabulary& v) { v.merges[0] = "b a"; }, "merge 0 is no pair");
  refused([](Vocabulary& v) { v.pre_tokenizer = "tekken"; }, "\"tekken\" is not known");
  refused([](Vocabulary& v) { v.add_bos = true; }, "has the id -1");
  refused([](Vocabulary& v) { v.eos = 3; }, "has the id 3");
}

}  // namespace
}  // namespace rlcpp::tokenizer
