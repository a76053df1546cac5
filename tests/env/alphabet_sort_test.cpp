#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "env/difflib.h"
#include "env/environment.h"
#include "env/names.h"
#include "env/unicode.h"
#include "support.h"

namespace rlcpp::env {
namespace {

using nlohmann::json;

std::vector<std::vector<std::string>> answers_of(const Task& task) {
  return json::parse(task.answer).get<std::vector<std::vector<std::string>>>();
}

// The names of a question: what stands between the first colon and the end of its line.
std::vector<std::string> names_of(const std::string& question) {
  const std::size_t begin = question.find(": ") + 2;
  std::vector<std::string> out;
  std::istringstream list(question.substr(begin, question.find('\n') - begin));
  for (std::string name; list >> name;) {
    if (name.back() == ',') name.pop_back();
    out.push_back(name);
  }
  return out;
}

std::string key_of(const std::string& name, bool first) {
  const std::size_t split = name.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1);
  return first ? name.substr(0, split) : name.substr(split);
}

// Played to its end with right answers: what was asked is what is expected, in order, the new names marked.
TEST(AlphabetSort, AsksForAllNamesSoFarInOneRightOrder) {
  const auto env = make_environment("alphabet-sort", "",
                                    json{{"size", 300},
                                         {"min_turns", 2},
                                         {"max_turns", 4},
                                         {"max_names_per_turn", 6},
                                         {"seed", rlcpp::test::fresh_seed() >> 1}}
                                        .dump());
  EXPECT_EQ(env->max_turns(), 4);
  EXPECT_EQ(env->reply_roles(), std::vector<std::string>{"user"});
  std::map<std::size_t, int> turns;
  int by_first = 0;
  for (std::int64_t index = 0; index < env->size(); ++index) {
    const Task task = env->task(index);
    ASSERT_EQ(task.prompt.size(), 1U);
    const auto expected = answers_of(task);
    const Responses perfect = env->perfect_responses(task);
    ASSERT_EQ(perfect.size(), expected.size());
    ++turns[expected.size()];
    const bool first = task.prompt[0].content.find("FIRST") != std::string::npos;
    by_first += first ? 1 : 0;
    std::vector<std::string> held;
    Responses so_far;
    for (std::size_t turn = 0; turn < expected.size(); ++turn) {
      const std::vector<Message> asked = turn == 0 ? task.prompt : env->reply(task, so_far);
      ASSERT_EQ(asked.size(), 1U);
      EXPECT_EQ(asked[0].role, "user");
      EXPECT_NE(asked[0].content.find(first ? "FIRST" : "LAST"), std::string::npos);
      const std::vector<std::string> fresh = names_of(asked[0].content);
      ASSERT_FALSE(fresh.empty());
      ASSERT_LE(fresh.size(), 6U);
      held.insert(held.end(), fresh.begin(), fresh.end());
      std::sort(held.begin(), held.end(),
                [&](const auto& a, const auto& b) { return key_of(a, first) < key_of(b, first); });
      std::vector<std::string> lines;
      for (const std::string& name : held) {
        const bool is_new = std::find(fresh.begin(), fresh.end(), name) != fresh.end();
        lines.push_back(name + (turn > 0 && is_new ? " // new name!" : ""));
      }
      ASSERT_EQ(expected[turn], lines);
      so_far.push_back(perfect[turn]);
    }
    EXPECT_TRUE(env->reply(task, so_far).empty());
    EXPECT_EQ(env->score(task, perfect).reward, 1.0);
    std::set<std::string> keys;
    for (const std::string& name : held) keys.insert(key_of(name, first));
    EXPECT_EQ(keys.size(), held.size());  // no ties
  }
  EXPECT_EQ(turns.size(), 3U);
  EXPECT_GT(by_first, 100);
  EXPECT_LT(by_first, 200);
}

TEST(AlphabetSort, RewardIsTheMeanPowerOrThePowerOfTheMean) {
  const json args = {{"min_turns", 2}, {"max_turns", 2}, {"min_names_per_turn", 3}, {"size", 20}};
  json later = args;
  later["power_per_turn"] = false;
  later["similarity_power"] = 3;
  const auto each = make_environment("alphabet-sort", "", args.dump());
  const auto whole = make_environment("alphabet-sort", "", later.dump());
  for (std::int64_t index = 0; index < 20; ++index) {
    const Task task = each->task(index);
    const auto expected = answers_of(task);
    // The second response lacks its last line.
    std::string right, wrong;
    for (std::size_t i = 0; i < expected[1].size(); ++i) {
      std::string line = expected[1][i];
      for (char& c : line) c = static_cast<char>(std::tolower(c));
      right += (i == 0 ? "" : "\n") + line;
      if (i + 1 < expected[1].size()) wrong += (i == 0 ? "" : "\n") + line;
    }
    const double similar = ratio(to_code_points(wrong), to_code_points(right));
    Responses responses = each->perfect_responses(task);
    responses[1] =
        "Well:\n<combined_alphabetical_sorted>\n\n  " + wrong + "  \n</combined_alphabetical_sorted>";
    EXPECT_DOUBLE_EQ(each->score(task, responses).reward, (1 + std::pow(similar, 4)) / 2);
    EXPECT_DOUBLE_EQ(whole->score(task, responses).reward, std::pow((1 + similar) / 2, 3));
    EXPECT_EQ(whole->score(task, responses).parts.at("weighted_reward"),
              whole->score(task, responses).reward);
    // A second attempt counts if it is better, and spoils the turn if it is not.
    const std::string perfect = each->perfect_responses(task)[1];
    responses[1] += perfect;
    EXPECT_DOUBLE_EQ(each->score(task, responses).reward, 1.0);
    responses[1] += perfect;
    EXPECT_DOUBLE_EQ(each->score(task, responses).reward, 0.5);
    // Turns that were not reached, and the tag of another turn, count 0.
    responses.pop_back();
    EXPECT_DOUBLE_EQ(each->score(task, responses).reward, 0.5);
    EXPECT_EQ(each->score(task, perfect).reward, 0.0);
    EXPECT_EQ(each->score(task, "").reward, 0.0);
  }
}

TEST(AlphabetSort, TasksAreAFunctionOfSeedAndIndex) {
  const auto prompts = [](const json& args) {
    const auto env = make_environment("alphabet-sort", "", args.dump());
    std::vector<std::string> out;
    for (std::int64_t i = 0; i < env->size(); ++i)
      out.push_back(env->task(i).prompt[0].content + env->task(i).answer);
    return out;
  };
  const auto some = prompts({{"size", 20}}), more = prompts({{"size", 50}});
  EXPECT_TRUE(std::equal(some.begin(), some.end(), more.begin()));
  EXPECT_EQ(some, prompts({{"size", 20}, {"seed", 1337420}}));
  EXPECT_NE(some, prompts({{"size", 20}, {"seed", 7}}));
  EXPECT_EQ(prompts({{"size", 20}, {"holdout", 5}, {"split", "eval"}}).size(), 5U);
  EXPECT_TRUE(std::is_sorted(given_names().begin(), given_names().end()));
  EXPECT_TRUE(std::is_sorted(family_names().begin(), family_names().end()));
}

TEST(AlphabetSort, HostileResponsesScoreFinite) {
  const auto env = make_environment("alphabet-sort", "", R"({"size": 5, "min_turns": 2})");
  Rng rng(rlcpp::test::fresh_seed());
  const std::vector<std::string> pieces = {"<alphabetical_sorted>",
                                           "</alphabetical_sorted>",
                                           "\xFF\xFE",
                                           "<combined_alphabetical_sorted>",
                                           "</combined_alphabetical_sorted>",
                                           std::string(40, '\0'),
                                           "\n",
                                           "AliceAbbott // new name!"};
  for (int round = 0; round < 300; ++round) {
    Responses responses;
    for (std::uint64_t turn = 1 + rng.below(5); turn > 0; --turn) {
      responses.emplace_back();
      for (std::uint64_t i = rng.below(12); i > 0; --i) responses.back() += pieces[rng.below(pieces.size())];
    }
    const double reward = env->score(env->task(static_cast<std::int64_t>(rng.below(5))), responses).reward;
    ASSERT_GE(reward, 0.0);
    ASSERT_LE(reward, 1.0);
  }
}

TEST(AlphabetSort, ArgumentsThatCannotWorkAreRefused) {
  const auto refused = [](const json& args, const std::string& words) {
    try {
      make_environment("alphabet-sort", "", args.dump());
      ADD_FAILURE() << args.dump();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_NE(e.render().find(words), std::string::npos) << e.render();
    }
  };
  refused({{"min_turns", 4}}, "above max_turns 3");
  refused({{"min_names_per_turn", 6}}, "above max_names_per_turn 5");
  refused({{"max_turns", 30}, {"max_names_per_turn", 30}}, "30 turns of 30 names");
  refused({{"power_per_turn", 1}}, "true or false");
  refused({{"hf_dataset_path", "x/y"}}, "names are drawn");
  refused({{"max_turn", 3}}, "max_turns");
}

}  // namespace
}  // namespace rlcpp::env
