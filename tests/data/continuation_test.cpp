// What stands between two responses, with the genuine Qwen3 tokenizer and template and with others.
#include "data/continuation.h"

#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"
#include "data/templates.h"
#include "data_path.h"
#include "support.h"
#include "tokenizer/qwen3.h"

namespace rlcpp::data {
namespace {

using Json = nlohmann::ordered_json;

std::string random_text(Rng& rng) {
  const std::vector<std::string> pieces = {"a",     "user", "\n", " ",   "  \n\n",
                                           "Grüße", "日本", "12", "<b>", "assistant"};
  std::string out = "x";
  for (std::uint64_t i = rng.below(8); i > 0; --i) out += pieces[rng.below(pieces.size())];
  return out + "y";
}

Json message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

// Where a template does not rewrite, prompt, response and continuation are the whole conversation's
// rendering, and the content of each new message is what its tokens say it is.
TEST(Continuation, IsWhatTheTemplateWritesBehindAResponse) {
  const tokenizer::Tokenizer& tokens = test::qwen3();
  const tokenizer::ChatTemplate chat(kChatMl);
  const Json variables = Json::object();
  Rng rng(test::fresh_seed());
  for (int round = 0; round < 50; ++round) {
    Json before = Json::array({message("system", random_text(rng)), message("user", random_text(rng))});
    const std::string prompt = chat.render(before, true, variables);
    const std::string response = random_text(rng);
    before.push_back(message("assistant", response));
    Json next = Json::array();
    for (std::uint64_t i = 1 + rng.below(3); i > 0; --i)
      next.push_back(message(rng.below(2) == 0 ? "user" : "tool", random_text(rng)));
    const Continuation got = continue_conversation(tokens, chat, variables, before, next);
    Json all = before;
    for (const Json& each : next) all.push_back(each);
    EXPECT_EQ(prompt + response + tokens.decode(got.ids), chat.render(all, true, variables));
    EXPECT_EQ(got.ids.front(), tokens.id_of("<|im_end|>"));
    ASSERT_EQ(got.message.size(), got.ids.size());
    ASSERT_EQ(got.bytes.size(), got.ids.size());
    for (std::size_t t = 0; t < got.ids.size(); ++t) {
      if (got.message[t] < 0) continue;
      const std::string& content = got.contents.at(static_cast<std::size_t>(got.message[t]));
      EXPECT_EQ(tokens.token_bytes(got.ids[t]),
                content.substr(got.bytes[t].begin, got.bytes[t].end - got.bytes[t].begin));
    }
    for (std::size_t m = 0; m < next.size(); ++m) {
      std::vector<std::int32_t> own;
      for (std::size_t t = 0; t < got.ids.size(); ++t) {
        if (got.message[t] == static_cast<std::int32_t>(m)) own.push_back(got.ids[t]);
      }
      EXPECT_EQ(tokens.decode(own), next[m]["content"].get<std::string>());
      EXPECT_EQ(got.contents.at(m), next[m]["content"].get<std::string>());
    }
  }
}

// Qwen3 drops earlier thinking: what is behind a response is the same whatever was said, so nothing is
// rewritten.
TEST(Continuation, DoesNotDependOnWhatWasSaid) {
  const auto config = Json::parse(std::ifstream(test::data_path("tokenizer/qwen3/tokenizer_config.json")));
  const tokenizer::Tokenizer& tokens = test::qwen3();
  const tokenizer::ChatTemplate chat(config["chat_template"].get<std::string>());
  const Json variables = {{"tools", nullptr}};
  for (const char* role : {"user", "tool"}) {
    std::vector<Continuation> all;
    for (const char* said : {"<think>\nhm\n</think>\n\nYes.", "Yes.", ""}) {
      const Json before = Json::array({message("user", "A?"), message("assistant", said)});
      all.push_back(
          continue_conversation(tokens, chat, variables, before, Json::array({message(role, "And B?")})));
    }
    for (const Continuation& each : all) {
      EXPECT_EQ(each.ids, all[0].ids);
      EXPECT_EQ(each.message, all[0].message);
    }
    std::vector<std::int32_t> content;
    for (std::size_t t = 0; t < all[0].ids.size(); ++t) {
      if (all[0].message[t] == 0) content.push_back(all[0].ids[t]);
    }
    // "?" and the template's end of line are one token behind a tool's answer: it is not the content's alone.
    EXPECT_EQ(tokens.decode(content), role == std::string("user") ? "And B?" : "And B");
    EXPECT_EQ(tokens.decode(all[0].ids),
              role == std::string("user")
                  ? "<|im_end|>\n<|im_start|>user\nAnd B?<|im_end|>\n<|im_start|>assistant\n"
                  : "<|im_end|>\n<|im_start|>user\n<tool_response>\nAnd "
                    "B?\n</tool_response><|im_end|>\n<|im_start|>"
                    "assistant\n");
  }
}

// Qwen3's tokenizer composes (NFC), so "e" and an accent come out as one letter: the bytes of a token cannot
// be told apart then, and each stands for the whole content.
TEST(Continuation, TextThatTheTokenizerChangesIsOnePiece) {
  const tokenizer::ChatTemplate chat(kChatMl);
  const Json before = Json::array({message("user", "A?"), message("assistant", "Yes")});
  const std::string said = "caf\x65\xcc\x81 at noon";
  const Continuation got = continue_conversation(test::qwen3(), chat, Json::object(), before,
                                                 Json::array({message("user", said)}));
  EXPECT_EQ(got.contents.at(0), said);
  std::string own;
  for (std::size_t t = 0; t < got.ids.size(); ++t) {
    if (got.message[t] < 0) continue;
    own += test::qwen3().token_bytes(got.ids[t]);
    EXPECT_EQ(got.bytes[t].begin, 0U);
    EXPECT_EQ(got.bytes[t].end, said.size());
  }
  EXPECT_EQ(own, "caf\xc3\xa9 at noon");
}

TEST(Continuation, ATemplateThatHidesResponsesIsRefused) {
  const tokenizer::ChatTemplate chat(
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}");
  const Json before = Json::array({message("user", "A?"), message("assistant", "Yes")});
  try {
    continue_conversation(test::qwen3(), chat, Json::object(), before, Json::array({message("user", "B?")}));
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(e.help().find("tokenizer.chat_template"), std::string::npos);
  }
}

}  // namespace
}  // namespace rlcpp::data
