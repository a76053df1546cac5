#include "env/environment.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "env/unicode.h"
#include "support.h"

namespace rlcpp::env {
namespace {

using rlcpp::test::TemporaryDirectory;

std::string write_prompts(const TemporaryDirectory& dir, const std::vector<std::string>& prompts) {
  const std::string path = dir / "tasks.jsonl";
  std::ofstream file(path);
  for (const std::string& prompt : prompts)
    file << nlohmann::json{{"prompt", prompt}, {"other", 1}}.dump() << "\n";
  return path;
}

std::string args(const nlohmann::json& values) {
  return values.dump();
}

// The message of the Error that `action` throws, with its exit code checked.
template <class Action>
std::string refusal(Action&& action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    return e.render();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(ReverseText, TasksAndPromptsAsTheReference) {
  const TemporaryDirectory dir;
  const std::string path = write_prompts(dir, {"hello", "aé🙂", "hello"});
  const auto env = make_environment("reverse-text", "", args({{"data", path}}));
  EXPECT_EQ(env->name(), "reverse-text");
  ASSERT_EQ(env->size(), 3);
  const Task task = env->task(1);
  EXPECT_EQ(task.example_id, 1);
  ASSERT_EQ(task.prompt.size(), 2U);
  EXPECT_EQ(task.prompt[0].role, "system");
  EXPECT_EQ(task.prompt[0].content,
            "Reverse the text character-by-character. Put your answer in <reversed_text> tags.");
  EXPECT_EQ(task.prompt[1].content, "aé🙂");
  EXPECT_EQ(task.answer, "🙂éa");
}

TEST(ReverseText, SystemPromptCanBeChangedAndLeftOut) {
  const TemporaryDirectory dir;
  const std::string path = write_prompts(dir, {"x"});
  const auto changed =
      make_environment("reverse-text", "mine", args({{"data", path}, {"system_prompt", "Go."}}));
  EXPECT_EQ(changed->name(), "mine");
  EXPECT_EQ(changed->task(0).prompt[0].content, "Go.");
  for (const nlohmann::json& none : {nlohmann::json(""), nlohmann::json("None"), nlohmann::json(nullptr)}) {
    const auto without =
        make_environment("reverse-text", "", args({{"data", path}, {"system_prompt", none}}));
    ASSERT_EQ(without->task(0).prompt.size(), 1U);
    EXPECT_EQ(without->task(0).prompt[0].role, "user");
  }
}

TEST(ReverseText, Rewards) {
  const TemporaryDirectory dir;
  const auto env = make_environment("reverse-text", "", args({{"data", write_prompts(dir, {"abcd"})}}));
  const Task task = env->task(0);
  const auto reward = [&](const std::string& text) { return env->score(task, text).reward; };
  EXPECT_EQ(reward("<reversed_text>dcba</reversed_text>"), 1.0);
  EXPECT_EQ(reward("hm <reversed_text>\n dcba \n</reversed_text> so"), 1.0);
  EXPECT_EQ(reward("<reversed_text>dcb</reversed_text>"), 6.0 / 7.0);
  EXPECT_EQ(reward("<reversed_text>abcd</reversed_text>"), 0.25);
  EXPECT_EQ(reward("dcba"), 0.0);  // no tag: empty content
  EXPECT_EQ(reward("<reversed_text>dcba"), 0.0);
  EXPECT_EQ(reward(""), 0.0);
  EXPECT_EQ(reward(env->perfect_responses(task).back()), 1.0);
  EXPECT_EQ(env->score(task, "<reversed_text>dcb</reversed_text>").parts.at("lcs_reward_func"), 6.0 / 7.0);
}

TEST(ReverseText, HostileCompletionsScoreFinite) {
  const TemporaryDirectory dir;
  const auto env =
      make_environment("reverse-text", "", args({{"data", write_prompts(dir, {"some words to turn"})}}));
  const Task task = env->task(0);
  Rng rng(rlcpp::test::fresh_seed());
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (std::uint64_t i = rng.below(6); i > 0; --i) {
      const std::vector<std::string> pieces = {"<reversed_text>", "</reversed_text>", "\xFF\xFE",
                                               std::string(40, '\0'), "drow"};
      text += pieces[rng.below(pieces.size())];
    }
    const double reward = env->score(task, text).reward;
    ASSERT_GE(reward, 0.0);
    ASSERT_LE(reward, 1.0);
  }
  const std::string huge = "<reversed_text>" + std::string(20'000'000, 'o') + "</reversed_text>";
  EXPECT_LT(env->score(task, huge).reward, 1e-3);
}

TEST(ReverseText, BadInputNamesThePlace) {
  const TemporaryDirectory dir;
  EXPECT_NE(refusal([] { make_environment("reverse-text", "", ""); }).find("args.data"), std::string::npos);
  const std::string path = dir / "bad.jsonl";
  const auto with = [&](const std::string& content) {
    std::ofstream(path) << content;
    return refusal([&] { make_environment("reverse-text", "", args({{"data", path}})); });
  };
  EXPECT_NE(with("{\"prompt\": \"a\"}\n\n{\"prompt\": \n").find("bad.jsonl:3"), std::string::npos);
  EXPECT_NE(with("{\"text\": \"a\"}\n").find("no column 'prompt'"), std::string::npos);
  EXPECT_NE(with("{\"prompt\": 3}\n").find("not a string"), std::string::npos);
  EXPECT_NE(with("[1]\n").find("not a JSON object"), std::string::npos);
  EXPECT_NE(with("\n\n").find("no rows"), std::string::npos);
  const std::string unknown = refusal([&] {
    make_environment("reverse-text", "", args({{"data", write_prompts(dir, {"a"})}, {"colunm", "b"}}));
  });
  EXPECT_NE(unknown.find("'colunm'"), std::string::npos);
  EXPECT_NE(unknown.find("column, data, holdout, seed, split, system_prompt"), std::string::npos);
}

TEST(ReverseText, HeldOutPromptsAreNotTrainedOn) {
  const TemporaryDirectory dir;
  std::vector<std::string> prompts;
  for (int i = 0; i < 200; ++i) prompts.push_back(fmt::format("word {}", i % 150));  // 50 of them twice
  const std::string path = write_prompts(dir, prompts);
  const auto make = [&](const std::string& split, int seed) {
    return make_environment("reverse-text", "",
                            args({{"data", path}, {"split", split}, {"holdout", 40}, {"seed", seed}}));
  };
  const auto contents = [](const Environment& env) {
    std::vector<std::string> out;
    for (std::int64_t i = 0; i < env.size(); ++i) out.push_back(env.task(i).prompt.back().content);
    return out;
  };
  const auto train = contents(*make("train", 3));
  const auto eval = contents(*make("eval", 3));
  EXPECT_EQ(make("all", 3)->size(), 200);
  const std::set<std::string> in_train(train.begin(), train.end()), in_eval(eval.begin(), eval.end());
  EXPECT_EQ(eval.size(), 40U);
  EXPECT_EQ(in_eval.size(), 40U);
  EXPECT_EQ(in_train.size(), 110U);
  for (const std::string& prompt : eval) EXPECT_FALSE(in_train.contains(prompt));
  EXPECT_EQ(contents(*make("eval", 3)), eval);
  EXPECT_NE(contents(*make("eval", 4)), eval);
  EXPECT_NE(refusal([&] {
              make_environment("reverse-text", "", args({{"data", path}, {"holdout", 150}}));
            }).find("cannot hold out 150"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              make_environment("reverse-text", "", args({{"data", path}, {"split", "eval"}}));
            }).find("args.holdout"),
            std::string::npos);
}

// Left to right with precedence, written independently of the generator.
std::int64_t evaluate(const std::string& text) {
  std::int64_t total = 0, product = 0;
  char pending = '+';
  std::size_t at = 0;
  char op = '+';
  while (at < text.size()) {
    if (text[at] == ' ') {
      ++at;
      continue;
    }
    if (text[at] == '+' || text[at] == '*' || (text[at] == '-' && text[at + 1] == ' ')) {
      op = text[at++];
      continue;
    }
    const bool bracket = text[at] == '(';
    std::size_t used = 0;
    const std::int64_t value = std::stoll(text.substr(at + (bracket ? 1 : 0)), &used);
    at += used + (bracket ? 2 : 0);
    if (op == '*') {
      product *= value;
    } else {
      total += pending == '-' ? -product : product;
      product = value;
      pending = op;
    }
  }
  return total + (pending == '-' ? -product : product);
}

TEST(Arithmetic, AnswersAreRight) {
  const auto env = make_environment(
      "arithmetic", "",
      args({{"min", -12}, {"max", 40}, {"ops", {"+", "-", "*"}}, {"terms", 3}, {"size", 500}, {"seed", 5}}));
  ASSERT_EQ(env->size(), 500);
  std::set<std::string> texts;
  for (std::int64_t i = 0; i < env->size(); ++i) {
    const Task task = env->task(i);
    EXPECT_EQ(task.answer, std::to_string(evaluate(task.prompt.back().content)))
        << task.prompt.back().content;
    EXPECT_EQ(env->score(task, env->perfect_responses(task)).reward, 1.0);
    EXPECT_EQ(env->score(task, "").reward, 0.0);
    texts.insert(task.prompt.back().content);
  }
  EXPECT_GT(texts.size(), 450U);
}

TEST(Arithmetic, ReadsBoxedElseLastInteger) {
  const auto env =
      make_environment("arithmetic", "", args({{"min", 7}, {"max", 7}, {"ops", {"+"}}, {"size", 1}}));
  const Task task = env->task(0);
  ASSERT_EQ(task.answer, "14");
  const auto reward = [&](const std::string& text) { return env->score(task, text).reward; };
  EXPECT_EQ(reward("\\boxed{14}"), 1.0);
  EXPECT_EQ(reward("7 + 7 = 14"), 1.0);
  EXPECT_EQ(reward("\\boxed{ +014 } and 3"), 1.0);
  EXPECT_EQ(reward("14 \\boxed{15}"), 0.0);
  EXPECT_EQ(reward("\\boxed{14.0}"), 0.0);
  EXPECT_EQ(reward("-14"), 0.0);
  EXPECT_EQ(reward("141"), 0.0);
  EXPECT_EQ(reward("99999999999999999999999999"), 0.0);
  EXPECT_EQ(reward("\\boxed{14"), 1.0);  // not closed: falls back to the last integer
}

TEST(Arithmetic, SameSeedSameTasksAndLongerListsStartAlike) {
  const auto first = make_environment("arithmetic", "", args({{"size", 50}, {"seed", 9}}));
  const auto longer = make_environment("arithmetic", "", args({{"size", 80}, {"seed", 9}}));
  const auto other = make_environment("arithmetic", "", args({{"size", 50}, {"seed", 10}}));
  int differing = 0;
  for (std::int64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(first->task(i).prompt.back().content, longer->task(i).prompt.back().content);
    differing += first->task(i).prompt.back().content != other->task(i).prompt.back().content ? 1 : 0;
  }
  EXPECT_GT(differing, 40);
}

TEST(Arithmetic, BadArgumentsAreRefused) {
  const auto text = [](const nlohmann::json& values) {
    return refusal([&] { make_environment("arithmetic", "", args(values)); });
  };
  EXPECT_NE(text({{"min", 5}, {"max", 4}}).find("above max 4"), std::string::npos);
  EXPECT_NE(text({{"ops", {"/"}}}).find("'/' is not an operation"), std::string::npos);
  EXPECT_NE(text({{"ops", nlohmann::json::array()}}).find("list of strings"), std::string::npos);
  EXPECT_NE(text({{"min", 1.5}}).find("whole number"), std::string::npos);
  EXPECT_NE(text({{"size", 0}}).find("from 1 to"), std::string::npos);
  EXPECT_NE(text({{"size", 18446744073709551615ULL}}).find("whole number"), std::string::npos);
}

TEST(Registry, UnknownIdNamesTheKnown) {
  EXPECT_EQ(environment_ids(), (std::vector<std::string>{"reverse-text", "arithmetic", "alphabet-sort"}));
  EXPECT_NE(refusal([] { make_environment("wordle", "", ""); }).find("reverse-text, arithmetic"),
            std::string::npos);
  EXPECT_NE(refusal([] { make_environment("arithmetic", "", "[1]"); }).find("not a table"),
            std::string::npos);
}

TEST(Arguments, ErrorsBeginWithThePlaceOfTheConfiguration) {
  const Places places = {{"id", "a.toml:2"}, {"args", "a.toml:3"}, {"args.min", "command line"}};
  const auto refused = [&](const std::string& id, const nlohmann::json& values) {
    return refusal([&] { make_environment(id, "sums", args(values), places); });
  };
  EXPECT_TRUE(refused("arithmetic", {{"min", "x"}}).starts_with("error: command line: args.min of"));
  EXPECT_TRUE(refused("arithmetic", {{"max", "x"}}).starts_with("error: a.toml:3: args.max of"));
  EXPECT_TRUE(refused("arithmetic", {{"mox", 1}}).starts_with("error: a.toml:3: environment 'sums' has no"));
  EXPECT_TRUE(refused("reverse-text", {{"data", "/nowhere.jsonl"}})
                  .starts_with("error: cannot read /nowhere.jsonl (args of environment 'sums', a.toml:3)\n"));
  EXPECT_TRUE(refused("algebra", {}).starts_with("error: a.toml:2: there is no environment 'algebra'"));
}

}  // namespace
}  // namespace rlcpp::env
