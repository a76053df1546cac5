// The ways out that a refused memory plan lists: read, applied, and planned again.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "world.h"

namespace rlcpp::test {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

inline std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  // A suggestion takes the place of what was there.
  for (const std::string& word : b) {
    const auto at = word.starts_with("--") ? std::find(a.begin(), a.end(), word) : a.end();
    if (at == a.end()) continue;
    const bool value = at + 1 != a.end() && !(at + 1)->starts_with("--");
    a.erase(at, at + (value ? 2 : 1));
  }
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The plan of a dry run, in bytes; nothing if it was refused.
inline std::map<std::string, double> planned(const World& world, const std::vector<std::string>& command) {
  const ProcessOutcome o = world.run(joined(command, {"--dry-run", "--json"}));
  if (o.code != 0) return {};
  return nlohmann::json::parse(o.out).at("memory").get<std::map<std::string, double>>();
}

struct Suggestion {
  std::vector<std::string> flags;
  double gib = 0;
};
// Of a refusal: "--model.ac.mode full: 12.33 GiB, ...", one a line.
inline std::vector<Suggestion> suggestions(const std::string& err) {
  static const std::regex form(R"((--[^:\n]*): ([0-9.]+) (GiB|MiB))");
  std::vector<Suggestion> out;
  for (auto it = std::sregex_iterator(err.begin(), err.end(), form); it != std::sregex_iterator(); ++it) {
    out.push_back({words_of((*it)[1]), std::stod((*it)[2]) / ((*it)[3] == "MiB" ? 1024 : 1)});
  }
  return out;
}

// Refused at `limit` GiB; every suggestion is applied, and plans what it says, below the limit. Returns how
// many there were.
inline std::size_t expect_ways_out(const World& world, const std::vector<std::string>& command,
                                   double limit) {
  const std::vector<std::string> limited = joined(command, {"--memory-limit", std::to_string(limit) + "GiB"});
  const ProcessOutcome o = world.run(joined(limited, {"--dry-run"}));
  EXPECT_EQ(o.code, 2) << o.err;
  EXPECT_NE(o.err.find("the memory plan does not fit"), std::string::npos) << o.err;
  const std::vector<Suggestion> found = suggestions(o.err);
  for (const Suggestion& suggestion : found) {
    const auto memory = planned(world, joined(limited, suggestion.flags));
    if (memory.empty()) {
      ADD_FAILURE() << suggestion.flags.front() << " does not fit after " << o.err;
      continue;
    }
    EXPECT_LE(memory.at("planned"), limit * kGiB) << suggestion.flags.front();
    EXPECT_NEAR(memory.at("planned") / kGiB, suggestion.gib, 0.06) << suggestion.flags.front();
  }
  return found.size();
}

}  // namespace rlcpp::test
