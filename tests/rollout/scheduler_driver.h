// The scheduler without a model: a memory of pages that is written and read as the engine would, where a
// token's key is a hash of all tokens before it, of the weights that computed them and of the request's salt.
// A page shared wrongly, a missed copy or a stale page shows up as a wrong hash.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "rollout/scheduler.h"
#include "support.h"

namespace rlcpp::rollout {

using Text = std::vector<std::int32_t>;

// What is asked of one sequence; each token is drawn from the hash of all before it.
struct Expected {
  std::uint64_t seed = 0;
  std::int32_t max_tokens = 0;
  std::int64_t arrival = 0;
  std::string salt;
  bool touched = false;  // weights changed after it had begun: its answer is of several
};

class SchedulerDriver {
 public:
  // Adapters: requests name one of so many, or none. Salts as well.
  SchedulerDriver(Rng& rng, const SchedulerConfig& config, WeightChange change = WeightChange::kRecompute,
                  std::int32_t adapters = 0, std::int32_t salts = 0);

  void submit();
  void step();
  void abort_one();
  // All weights, or now and then those of one adapter. With kDrain they change once nothing is left that has
  // begun.
  void change_weights();
  void check() const;

  const Scheduler& scheduler() const { return scheduler_; }
  bool waits_for_drain() const { return pending_; }
  std::int64_t submitted = 0, ended = 0, steps = 0, changes = 0, pure_answers = 0, mixed_steps = 0;
  std::int64_t found = 0;  // sequences with a salt that began with pages of another group

 private:
  std::int32_t page_size() const { return scheduler_.config().page_size; }
  std::uint64_t& slot(std::int32_t page, std::int32_t offset) {
    return memory_[static_cast<std::size_t>(page * page_size() + offset)];
  }
  std::uint64_t& slot_of(const Sequence& sequence, std::int32_t position) {
    return slot(sequence.pages[static_cast<std::size_t>(position / page_size())], position % page_size());
  }
  std::uint64_t generation_of(std::int32_t adapter) const {
    return generations_[static_cast<std::size_t>(adapter - kNoAdapter)];
  }
  Text random_text(std::uint64_t length);
  void note_found(SequenceHandle handle, std::int32_t count);
  void write(const StepPlan::Chunk& chunk);
  void read_back(const StepPlan::Chunk& chunk);
  std::int32_t draw_for(const StepPlan::Sample& sample);
  void end_if_last(SequenceHandle handle);
  void forget_waiting();
  void apply_change();

  Rng& rng_;
  WeightChange change_;
  std::int32_t adapters_, salts_;
  Scheduler scheduler_;
  std::vector<std::uint64_t> memory_;
  std::vector<Text> beginnings_;
  std::map<SequenceHandle, Expected> expected_;
  std::map<SequenceHandle, std::vector<std::uint64_t>> keys_;  // that a running sequence must find
  std::map<std::int32_t, std::pair<SequenceHandle, std::int32_t>> row_of_end_;
  std::int64_t next_group_ = 100;
  std::int64_t last_started_ = -1, newest_started_ = -1;
  std::array<std::uint64_t, 4> generations_ = {1, 2, 3, 4};
  std::uint64_t next_generation_ = 5;
  bool pending_ = false;  // drain: weights that wait
  std::optional<std::int32_t> pending_adapter_;
  std::set<std::int64_t> begun_;  // groups, when the hold began
};

SchedulerConfig random_config(Rng& rng);

}  // namespace rlcpp::rollout
