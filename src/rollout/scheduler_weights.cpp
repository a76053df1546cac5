// What the scheduler does where weights change and where sequences read different ones.
#include <algorithm>

#include "base/error.h"
#include "rollout/scheduler.h"

namespace rlcpp::rollout {

// A number that no other weights ever have.
std::uint64_t& Scheduler::generation_of(std::int32_t adapter) {
  const auto place = static_cast<std::size_t>(adapter - kNoAdapter);
  while (generations_.size() <= place) generations_.push_back(next_generation_++);
  return generations_[place];
}

void Scheduler::new_weights(WeightChange change, std::optional<std::int32_t> adapter) {
  RLCPP_CHECK(!open_);
  held_ = false;
  if (adapter.has_value()) {
    generation_of(*adapter) = next_generation_++;
  } else {
    for (std::uint64_t& generation : generations_) generation = next_generation_++;
  }
  const bool none_is_left = change == WeightChange::kDrain || change == WeightChange::kAbort;
  RLCPP_CHECK(!none_is_left || drained(adapter));
  for (std::size_t i = running_.size(); i-- > 0;) {  // from the youngest: the places of the others stay
    const SequenceHandle handle = running_[i];
    Sequence& sequence = at(handle);
    if (adapter.has_value() && sequence.adapter != *adapter) continue;
    const Group& group = group_of(handle);
    const bool awaited = group.leader == handle && group.waiting > 0;
    if (change == WeightChange::kKeep && !awaited) {
      sequence.mixed = true;
      ++stats_.kept_sequences;
      continue;
    }
    stop_running(handle);
    start_waiting(handle);
    ++stats_.recomputed_sequences;
  }
}

bool Scheduler::drained(std::optional<std::int32_t> adapter) const {
  return std::ranges::none_of(groups_, [&](const auto& entry) {
    const Group& group = entry.second;
    return group.begun && (!adapter.has_value() || sequence(group.members.front()).adapter == *adapter);
  });
}

std::vector<SequenceHandle> Scheduler::begun(std::optional<std::int32_t> adapter) const {
  std::vector<SequenceHandle> all;
  for (const auto& [id, group] : groups_) {
    if (!group.begun) continue;
    if (adapter.has_value() && sequence(group.members.front()).adapter != *adapter) continue;
    all.insert(all.end(), group.members.begin(), group.members.end());
  }
  std::ranges::sort(all, {}, [&](SequenceHandle handle) { return sequence(handle).arrival; });
  return all;
}

bool Scheduler::uses(std::int32_t adapter) const {
  return std::ranges::any_of(
      groups_, [&](const auto& entry) { return sequence(entry.second.members.front()).adapter == adapter; });
}

// Rows of one adapter are computed together, so they lie together.
void Scheduler::gather_adapters() {
  const auto adapter_of = [&](const StepPlan::Chunk& chunk) { return at(chunk.sequence).adapter; };
  if (std::ranges::is_sorted(plan_.chunks, {}, adapter_of)) return;
  std::ranges::sort(plan_.chunks, {},
                    [&](const StepPlan::Chunk& chunk) { return std::pair(adapter_of(chunk), chunk.row); });
  moves_.clear();
  std::int32_t row = 0;
  for (StepPlan::Chunk& chunk : plan_.chunks) {
    moves_.push_back({chunk.row, row});
    chunk.row = row;
    row += chunk.count;
  }
  std::ranges::sort(moves_, {}, &Move::from);
  for (StepPlan::Sample& sample : plan_.samples) {
    const auto after = std::ranges::upper_bound(moves_, sample.row, {}, &Move::from);
    const Move& move = *std::prev(after);
    sample.row += move.to - move.from;
  }
  std::ranges::sort(plan_.samples, {}, [&](const StepPlan::Sample& sample) {
    return std::pair(sample.row, at(sample.sequence).arrival);
  });
}

}  // namespace rlcpp::rollout
