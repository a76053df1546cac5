// Seeds and what fuzzing once found, through every target: without clang, in every tier and preset. Also each
// seed cut short, with single bytes changed and with levels of brackets in it, fresh each time.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string_view>
#include <utility>

#include "base/durable.h"
#include "data_path.h"
#include "fuzz/targets.h"
#include "support.h"

namespace rlcpp::fuzz {
namespace {

std::vector<std::string> seeds_of(const std::string& name) {
  std::vector<std::string> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(test::data_path("../fuzz/seeds/" + name)))
    seeds.push_back(durable::read_file(entry.path().string()));
  return seeds;
}

// What begins a level of some format, and what ends it; not every format closes them all.
constexpr std::pair<std::string_view, std::string_view> kLevels[] = {
    {"[", "]"},   {"{\"a\":", "}"}, {"[", ""},  {"(", ")"},
    {"not ", ""}, {"-", ""},        {"a.", ""}, {"{% if 1 %}", "{% endif %}"}};

TEST(Fuzz, EveryTargetTakesItsSeeds) {
  for (const auto& [name, target] : targets()) {
    SCOPED_TRACE(name);
    const auto seeds = seeds_of(name);
    EXPECT_GE(seeds.size(), 2U);
    for (const std::string& seed : seeds) target(seed);
    target("");
  }
}

TEST(Fuzz, DamagedSeeds) {
  std::mt19937_64 rng(test::fresh_seed());
  const int rounds = test::long_tier() ? 3000 : 60;
  for (const auto& [name, target] : targets()) {
    SCOPED_TRACE(name);
    for (const std::string& seed : seeds_of(name)) {
      if (seed.empty()) continue;
      for (int i = 0; i < rounds; ++i) {
        std::string bytes = seed.substr(0, rng() % 3 == 0 ? rng() % seed.size() + 1 : seed.size());
        for (std::uint64_t hits = rng() % 4; hits > 0; --hits) {
          const std::size_t at = rng() % bytes.size();
          bytes[at] =
              rng() % 2 == 0 ? static_cast<char>(rng()) : static_cast<char>(bytes[at] ^ (1 << rng() % 8));
        }
        target(bytes);
      }
    }
  }
}

// Levels without end, where a value or an expression may begin and at a place by chance.
TEST(Fuzz, DeepSeeds) {
  std::mt19937_64 rng(test::fresh_seed());
  const int places = test::long_tier() ? 40 : 2;
  for (const auto& [name, target] : targets()) {
    SCOPED_TRACE(name);
    for (const std::string& seed : seeds_of(name)) {
      std::vector<std::size_t> starts;
      for (std::size_t i = 0; i < seed.size(); ++i)
        if (std::string_view(":=[{(,").find(seed[i]) != std::string_view::npos) starts.push_back(i + 1);
      for (const auto& [open, close] : kLevels) {
        for (int i = 0; i < places; ++i) {
          const bool chosen = !starts.empty() && rng() % 4 != 0;
          const std::size_t at = chosen ? starts[rng() % starts.size()] : rng() % (seed.size() + 1);
          const std::size_t end = rng() % 2 == 0 ? at : seed.find_first_of(",}])\n", at);
          const int levels = 1000 << rng() % 6;
          std::string bytes = seed.substr(0, at);
          for (int level = 0; level < levels; ++level) bytes += open;
          for (int level = 0; level < levels; ++level) bytes += close;
          if (end != std::string::npos) bytes += seed.substr(end);
          target(bytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace rlcpp::fuzz
