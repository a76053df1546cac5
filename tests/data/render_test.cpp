#include "data/render.h"

#include <fstream>

#include "base/error.h"
#include "base/rng.h"
#include "support.h"
#include "templates.h"

namespace rlcpp::data {
namespace {

using Json = nlohmann::ordered_json;

// A small tokenizer of all bytes with ChatML's special tokens; end of sequence is <|im_end|> unless told
// otherwise.
tokenizer::Tokenizer make_tokenizer(const std::string& dir, const std::string& eos = "<|im_end|>") {
  tokenizer::TrainOptions options;
  options.vocab_size = 300;
  options.added_tokens = {"<think>", "</think>"};
  tokenizer::train_tokenizer({"the quick brown fox jumps over the lazy dog, user and assistant"}, options,
                             dir);
  std::ifstream in(dir + "/tokenizer_config.json");
  Json config = Json::parse(in);
  config["eos_token"] = eos;
  config["bos_token"] = "<|im_start|>";
  std::ofstream(dir + "/tokenizer_config.json") << config.dump();
  return tokenizer::Tokenizer::load(dir);
}

class Render : public ::testing::Test {
 protected:
  test::TemporaryDirectory dir_;
  tokenizer::Tokenizer tokenizer_ = make_tokenizer(dir_.path());

  Rendered render(const char* chat_template, const std::string& row, const LossMaskConfig& mask = {}) const {
    return Renderer(tokenizer_, chat_template, mask).render(parse_row(row, "train.jsonl:3"));
  }
  std::string text(const Sample& s) const { return tokenizer_.decode(s.ids); }
  // The trained parts, each decoded by itself.
  std::vector<std::string> trained(const Sample& s) const {
    std::vector<std::string> parts;
    for (std::size_t b = 0; b < s.ids.size();) {
      std::size_t e = b + 1;
      while (e < s.ids.size() && s.mask[e] == s.mask[b]) ++e;
      if (s.mask[b] != 0) parts.push_back(tokenizer_.decode(std::span(s.ids).subspan(b, e - b)));
      b = e;
    }
    return parts;
  }
};

using Parts = std::vector<std::string>;

TEST_F(Render, ChatMlTrainsAnswersWithTheirEndAndNotTheirHeaders) {
  const auto r = render(
      kChatMl, R"({"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"},
      {"role": "assistant", "content": "hello"}, {"role": "user", "content": "more"}, {"role": "assistant", "content": "no"}]})");
  ASSERT_EQ(r.samples.size(), 1U);
  EXPECT_EQ(text(r.samples[0]),
            "<|im_start|>system\nbe "
            "brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n"
            "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n");
  EXPECT_EQ(trained(r.samples[0]), (Parts{"hello<|im_end|>\n", "no<|im_end|>\n"}));
  EXPECT_EQ(r.unaligned_turns, 0);
}

TEST_F(Render, EveryRoleCanBeTrained) {
  const std::string row =
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
      {"role": "assistant", "content": "a"}, {"role": "tool", "content": "t"}, {"role": "tool", "content": "w"}, {"role": "assistant", "content": "b"}]})";
  const auto parts = [&](bool system, bool user, bool assistant, bool tool) {
    LossMaskConfig mask;
    mask.system = system;
    mask.user = user;
    mask.assistant = assistant;
    mask.tool = tool;
    const auto r = render(kChatMl, row, mask);
    EXPECT_EQ(r.samples.size(), 1U);
    return trained(r.samples[0]);
  };
  EXPECT_EQ(parts(false, true, false, false), (Parts{"<|im_start|>user\nu<|im_end|>\n"}));
  EXPECT_EQ(parts(false, false, false, true),
            (Parts{"<|im_start|>tool\nt<|im_end|>\n<|im_start|>tool\nw<|im_end|>\n"}));
  // The very first token has no prediction, so it is never trained.
  EXPECT_EQ(parts(true, false, false, false), (Parts{"system\ns<|im_end|>\n"}));
  EXPECT_EQ(parts(true, true, true, false), (Parts{"system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n",
                                                   "a<|im_end|>\n", "b<|im_end|>\n"}));
}

TEST_F(Render, MessagesBehindTheLastTrainedTurnAreLeftOut) {
  const auto r = render(
      kChatMl,
      R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "bye"}]})");
  ASSERT_EQ(r.samples.size(), 1U);
  EXPECT_EQ(text(r.samples[0]), "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n");
}

// prime-rl's rule of January 2026 on tokens, written plainly; "" where its assertion would stop the run.
std::string reference_mask(const tokenizer::Tokenizer& tokenizer, const Conversation& c,
                           const LossMaskConfig& loss_mask) {
  const tokenizer::ChatTemplate chat_template(kChatMl);
  std::vector<std::int32_t> before;
  std::string mask;
  for (std::size_t i = 0; i < c.messages.size(); ++i) {
    const std::string role = c.messages[i]["role"];
    if (role == "tool" && i + 1 < c.messages.size() && c.messages[i + 1]["role"] == "tool") continue;
    const bool header =
        role != "assistant" && i + 1 < c.messages.size() && c.messages[i + 1]["role"] == "assistant";
    Json prefix = Json::array();
    for (std::size_t j = 0; j <= i; ++j) prefix.push_back(c.messages[j]);
    const auto ids = tokenizer.encode(chat_template.render(prefix, header, c.variables));
    if (!std::equal(before.begin(), before.end(), ids.begin())) return "";
    mask += std::string(ids.size() - before.size(), loss_mask.of(role) ? '1' : '0');
    before = ids;
  }
  return mask;
}

TEST_F(Render, EqualsGrowingPrefixesWhereThoseWork) {
  Rng rng(test::fresh_seed());
  const char* words[] = {"fox", "the lazy dog", "a\nb",      "two\n\nlines",
                         "x",   "quick brown",  "1 + 1 = 2", "\xc3\xa9t\xc3\xa9"};
  int compared = 0;
  for (int round = 0; round < 60; ++round) {
    Json messages = Json::array();
    if (rng.below(2) == 0) messages.push_back({{"role", "system"}, {"content", words[rng.below(8)]}});
    const auto turns = 1 + rng.below(4);
    for (std::uint64_t t = 0; t < turns; ++t) {
      messages.push_back({{"role", "user"}, {"content", words[rng.below(8)]}});
      messages.push_back({{"role", "assistant"}, {"content", words[rng.below(8)]}});
      if (rng.below(3) == 0) {
        messages.push_back({{"role", "tool"}, {"content", words[rng.below(8)]}});
        messages.push_back({{"role", "assistant"}, {"content", words[rng.below(8)]}});
      }
    }
    LossMaskConfig mask;
    mask.tool = rng.below(2) == 0;
    const auto conversation = parse_row(Json({{"messages", messages}}).dump(), "x:1");
    std::string expected = reference_mask(tokenizer_, conversation, mask);
    if (expected.empty()) continue;
    expected[0] = '0';
    // There the header before an answer takes the flag of the role before it; here it is never trained. So
    // tool turns are compared only where they are not trained.
    if (mask.tool) continue;
    ++compared;
    const auto r = Renderer(tokenizer_, kChatMl, mask).render(conversation);
    ASSERT_EQ(r.samples.size(), 1U);
    std::string got;
    for (const auto m : r.samples[0].mask) got += m != 0 ? '1' : '0';
    EXPECT_EQ(got, expected) << messages.dump();
  }
  EXPECT_GT(compared, 15);
}

TEST_F(Render, ATemplateThatDropsEarlierThinkingGivesASampleForEachRewrittenHistory) {
  const auto r = render(kThinking, R"({"messages": [{"role": "user", "content": "q1"},
      {"role": "assistant", "content": "<think>\nbecause\n</think>\n\na1"}, {"role": "user", "content": "q2"},
      {"role": "assistant", "content": "<think>\nso\n</think>\n\na2"}]})");
  ASSERT_EQ(r.samples.size(), 2U);
  EXPECT_EQ(
      text(r.samples[0]),
      "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n<think>\nbecause\n</think>\n\na1<|im_end|>\n");
  EXPECT_EQ(trained(r.samples[0]), (Parts{"<think>\nbecause\n</think>\n\na1<|im_end|>\n"}));
  // What the model sees when it answers q2: a1 without its thinking, not trained a second time.
  EXPECT_EQ(
      text(r.samples[1]),
      "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n<|im_start|>user\nq2<|im_end|>\n"
      "<|im_start|>assistant\n<think>\nso\n</think>\n\na2<|im_end|>\n");
  EXPECT_EQ(trained(r.samples[1]), (Parts{"<think>\nso\n</think>\n\na2<|im_end|>\n"}));
  EXPECT_EQ(r.unaligned_turns, 0);
}

TEST_F(Render, ToolTurnsBehindOneQuestionKeepTheirThinkingAndStayOneSample) {
  const std::string row = R"({"tools": [{"name": "add", "description": "d", "parameters": {}}], "messages": [
      {"role": "system", "content": "sys"}, {"role": "user", "content": "1+1?"},
      {"role": "assistant", "content": "<think>\ncall\n</think>\n\n", "tool_calls": [{"function": {"name": "add", "arguments": "{\"a\": 1}"}}]},
      {"role": "tool", "content": "2"}, {"role": "tool", "content": "two"},
      {"role": "assistant", "content": "<think>\nsee\n</think>\n\nit is 2"}]})";
  const auto r = render(kThinking, row);
  ASSERT_EQ(r.samples.size(), 1U);
  EXPECT_EQ(
      text(r.samples[0]),
      "<|im_start|>system\nsys\n\nTools:\n{\"type\": \"function\", \"function\": {\"name\": \"add\", "
      "\"description\": \"d\", "
      "\"parameters\": "
      "{}}}<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\ncall\n</think>\n\n"
      "<tool_call>{\"a\": 1}</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>2</tool_response>\n"
      "<tool_response>two</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\nsee\n</think>\n\nit is "
      "2<|im_end|>\n");
  EXPECT_EQ(trained(r.samples[0]),
            (Parts{"<think>\ncall\n</think>\n\n<tool_call>{\"a\": 1}</tool_call><|im_end|>\n",
                   "<think>\nsee\n</think>\n\nit is 2<|im_end|>\n"}));
}

TEST_F(Render, ThinkingSwitchedOffBelongsToThePrompt) {
  const auto r = render(
      kThinking,
      R"({"chat_template_kwargs": {"enable_thinking": false}, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})");
  ASSERT_EQ(r.samples.size(), 1U);
  EXPECT_EQ(trained(r.samples[0]), (Parts{"a<|im_end|>\n"}));
  const auto on =
      render(kThinking,
             R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})");
  EXPECT_EQ(trained(on.samples[0]), (Parts{"<think>\n\n</think>\n\na<|im_end|>\n"}));
  // Thinking off, and yet a row that thinks: prompt and answer part inside the block, before its own words.
  const auto both = render(
      kThinking,
      R"({"chat_template_kwargs": {"enable_thinking": false}, "messages": [{"role": "user", "content": "q"},
      {"role": "assistant", "content": "<think>\nhm\n</think>\n\na"}]})");
  EXPECT_EQ(trained(both.samples[0]), (Parts{"hm\n</think>\n\na<|im_end|>\n"}));
}

TEST_F(Render, RewrittenHistoryDoesNotHideTrainedQuestions) {
  LossMaskConfig mask;
  mask.user = true;
  const auto r = render(kThinking, R"({"messages": [{"role": "user", "content": "q1"},
      {"role": "assistant", "content": "<think>\nt\n</think>\n\na1"}, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]})",
                        mask);
  ASSERT_EQ(r.samples.size(), 2U);
  EXPECT_EQ(trained(r.samples[0]), (Parts{"user\nq1<|im_end|>\n", "<think>\nt\n</think>\n\na1<|im_end|>\n"}));
  EXPECT_EQ(trained(r.samples[1]), (Parts{"q2<|im_end|>\n", "<think>\n\n</think>\n\na2<|im_end|>\n"}));
  EXPECT_EQ(r.unaligned_turns, 0);
}

TEST_F(Render, TemplatesWithoutAGenerationPromptAlignByTheQuestionsEnd) {
  const test::TemporaryDirectory dir;
  const auto tokenizer = make_tokenizer(dir.path(), "<|endoftext|>");
  const auto r =
      Renderer(tokenizer, kInstruct, {})
          .render(parse_row(
              R"({"messages": [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]})",
              "x:1"));
  ASSERT_EQ(r.samples.size(), 1U);
  EXPECT_EQ(trained(r.samples[0]), (Parts{" a1 <|endoftext|>", " a2 <|endoftext|>"}));
}

TEST_F(Render, EndOfSequenceIsAppendedOnlyWhenAbsent) {
  const test::TemporaryDirectory dir;
  const auto other = make_tokenizer(dir.path(), "<|endoftext|>");
  const auto row = parse_row(R"({"prompt": "q", "completion": "a"})", "x:1");
  const auto appended = Renderer(other, kChatMl, {}).render(row).samples.at(0);
  EXPECT_EQ(appended.ids.back(), other.eos_id());
  EXPECT_EQ(appended.mask.back(), 1);
  const auto present = Renderer(tokenizer_, kChatMl, {}).render(row).samples.at(0);
  EXPECT_EQ(std::count(present.ids.begin(), present.ids.end(), tokenizer_.eos_id()), 2);
}

TEST_F(Render, AnswerBeginsWithATokenOfItsOwn) {
  // Encoded as one text, the newline of the header and those of the answer could become one token, which the
  // model never sees behind a prompt. (Stripping keeps contents from beginning so; a template can still do
  // it.)
  const char* chat_template =
      "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q ' + m.content + '\n' }}{% else %}{{ 'A\n\n\n' + "
      "m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'A\n' }}{% endif %}";
  const auto r = render(chat_template, R"({"prompt": "q", "completion": "a"})");
  const auto prompt = tokenizer_.encode("Q q\nA\n");
  ASSERT_GT(r.samples[0].ids.size(), prompt.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), r.samples[0].ids.begin()));
  EXPECT_EQ(trained(r.samples[0]), (Parts{"\n\na<|im_end|>"}));
}

TEST_F(Render, WithoutATemplateTextIsJoined) {
  const test::TemporaryDirectory dir;
  make_tokenizer(dir.path());
  Json config = Json::parse(std::ifstream(dir / "tokenizer_config.json"));
  config.erase("chat_template");
  std::ofstream(dir / "tokenizer_config.json") << config.dump();
  const auto bare = tokenizer::Tokenizer::load(dir.path());
  ASSERT_EQ(bare.chat_template(), "");
  const Renderer renderer(bare, "", {});
  const auto r = renderer.render(parse_row(R"({"prompt": "2+2=", "completion": "4"})", "x:1"));
  EXPECT_EQ(bare.decode(r.samples[0].ids), "2+2=4<|im_end|>");
  EXPECT_EQ(trained(r.samples[0]), (Parts{"4<|im_end|>"}));
  try {
    renderer.render(parse_row(R"({"messages": [{"role": "user", "content": "q"}]})", "train.jsonl:9"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).rfind("train.jsonl:9: ", 0), 0U);
    EXPECT_NE(std::string(e.what()).find("chat template"), std::string::npos);
  }
}

TEST_F(Render, RowsWithNothingToTrainAreRefusedByPlace) {
  const auto why = [&](const char* chat_template, const std::string& row) {
    try {
      render(chat_template, row);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_EQ(std::string(e.what()).rfind("train.jsonl:3: ", 0), 0U) << e.what();
      return std::string(e.what()) + " | " + e.because();
    }
    return std::string();
  };
  EXPECT_NE(why(kChatMl, R"({"messages": [{"role": "user", "content": "q"}]})").find("no token to train"),
            std::string::npos);
  EXPECT_NE(why(kChatMl, R"({"messages": [{"role": "user", "content": "q"}]})").find("its turns are: user"),
            std::string::npos);
  EXPECT_NE(
      why(kInstruct, R"({"messages": [{"role": "assistant", "content": "q"}]})").find("roles must alternate"),
      std::string::npos);
  // A template that hides contents: nothing can be aligned, nothing wrong is trained.
  EXPECT_NE(why("{% for m in messages %}{{ m.content | length }}{{ messages | length }}{% endfor %}",
                R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})")
                .find("hides"),
            std::string::npos);
}

}  // namespace
}  // namespace rlcpp::data
