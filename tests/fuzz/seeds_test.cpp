// Seeds and what fuzzing once found, through every target: without clang, in every tier and preset. Also each
// seed cut at every length and with single bytes changed, fresh each time.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

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

}  // namespace
}  // namespace rlcpp::fuzz
