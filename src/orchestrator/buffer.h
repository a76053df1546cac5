// Which example comes next, and what has been learned about how hard each is (prime-rl
// orchestrator/buffer.py, January 2026). Examples are drawn uniformly with replacement from those that are
// neither too easy nor too hard; environments by ratio or by their number of such examples.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/rng.h"
#include "monitor/metrics.h"
#include "orchestrator/config.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

class Buffer {
 public:
  struct Source {
    std::string name;
    std::int64_t size = 0;
    // Identifies the content of an example, so that a checkpoint finds it again in data whose order changed.
    std::function<std::uint64_t(std::int64_t index)> fingerprint;
  };
  Buffer(const BufferSection& section, std::vector<Source> sources, std::uint64_t seed);

  // Throws runtime_failure if every example is in the easy or hard pool.
  Example sample();

  // False: online difficulty filtering drops a group of these rewards.
  bool keeps(std::span<const double> rewards) const;
  // Takes note of the rewards of a finished group and moves its example if it is too easy or too hard.
  // Returns keeps(rewards). The scheduler calls it when its batch is full, in the order of the groups: what
  // is drawn for a batch then does not depend on which group finished first.
  bool update(const Example& example, std::span<const double> rewards);
  // The example can never be used (its prompt is too long): never drawn again, in no pool.
  void exclude(const Example& example);

  // evicted_examples/{easy,hard}: share of the groups since the last call that moved their example;
  // filtered_rollouts/{easy,hard}: share of their rollouts dropped; pool/{easy,normal,hard}: share of all
  // examples. Resets the counts.
  monitor::Metrics metrics();

  std::int64_t normal_examples() const;
  // Every example turned out to be unusable.
  bool all_excluded() const;

  nlohmann::json state() const;
  // Continues as the saved buffer would have. With easy_fraction or hard_fraction, that share of each pool is
  // drawn again. Returns sentences about examples that the data no longer has. Throws bad_input if `state` is
  // malformed.
  std::vector<std::string> restore(const nlohmann::json& state);

 private:
  enum class Pool : std::uint8_t { kNormal, kEasy, kHard, kExcluded };
  struct Environment {
    Source source;
    std::vector<std::int64_t> normal;                // ascending
    std::vector<std::int64_t> easy, hard, excluded;  // in order of eviction
    std::vector<std::int64_t>& pool(Pool which);
  };
  void move(const Example& example, Pool to);
  void release(std::vector<std::int64_t>& pool, Environment& from, double fraction);

  BufferSection section_;
  std::vector<Environment> environments_;
  Rng rng_;
  std::int64_t groups_ = 0, evicted_easy_ = 0, evicted_hard_ = 0;
  std::int64_t rollouts_ = 0, filtered_easy_ = 0, filtered_hard_ = 0;
};

}  // namespace rlcpp::orchestrator
