#include "rollout/scheduler_driver.h"

#include <algorithm>

namespace rlcpp::rollout {
namespace {

// Before the first token.
std::uint64_t first_key(const Expected& expected) {
  std::uint64_t key = 0;
  for (const char letter : expected.salt) key = mix64(key, static_cast<std::uint64_t>(letter) + 1);
  return key;
}

std::uint64_t key_after(std::uint64_t key, std::int32_t token, std::uint64_t generation) {
  return mix64(mix64(key, static_cast<std::uint64_t>(token)), generation);
}

std::int32_t draw(std::uint64_t key, std::uint64_t seed, std::int32_t index) {
  return static_cast<std::int32_t>(mix64(mix64(key, seed), static_cast<std::uint64_t>(index)) % 24);
}

// A drawn 23 ends a sequence early.
bool is_last(std::int32_t token, std::int32_t outputs, const Expected& expected, std::int32_t known,
             std::int32_t max_model_len) {
  return token == 23 || outputs >= expected.max_tokens || known >= max_model_len;
}

// The answer without any engine.
Text naive_output(Text text, const Expected& expected, std::uint64_t generation, std::int32_t max_model_len) {
  const std::size_t prompt = text.size();
  for (;;) {
    std::uint64_t key = first_key(expected);
    for (const std::int32_t token : text) key = key_after(key, token, generation);
    const auto outputs = static_cast<std::int32_t>(text.size() - prompt);
    text.push_back(draw(key, expected.seed, outputs));
    if (is_last(text.back(), outputs + 1, expected, static_cast<std::int32_t>(text.size()), max_model_len))
      break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt), text.end()};
}

}  // namespace

SchedulerDriver::SchedulerDriver(Rng& rng, const SchedulerConfig& config, WeightChange change,
                                 std::int32_t adapters, std::int32_t salts)
    : rng_(rng),
      change_(change),
      adapters_(adapters),
      salts_(salts),
      scheduler_(config),
      memory_(static_cast<std::size_t>(config.num_pages) * static_cast<std::size_t>(config.page_size)) {
  for (int i = 0; i < 3; ++i) beginnings_.push_back(random_text(1 + rng_.below(20)));
}

Text SchedulerDriver::random_text(std::uint64_t length) {
  Text text(length);
  for (std::int32_t& token : text) token = static_cast<std::int32_t>(rng_.below(3));
  return text;
}

void SchedulerDriver::submit() {
  // Prompts often begin alike, and are sometimes the same.
  Text prompt = beginnings_[rng_.below(beginnings_.size())];
  if (rng_.below(3) > 0) {
    const Text more = random_text(rng_.below(6));
    prompt.insert(prompt.end(), more.begin(), more.end());
  }
  const auto longest = static_cast<std::size_t>(scheduler_.config().max_model_len) - 1;
  prompt.resize(std::min(prompt.size(), longest));
  const auto n = static_cast<std::int32_t>(1 + rng_.below(6));
  const auto max_tokens = static_cast<std::int32_t>(1 + rng_.below(30));
  const auto adapter = static_cast<std::int32_t>(rng_.below(static_cast<std::uint64_t>(adapters_) + 1)) - 1;
  // Long ones that differ at their ends, and none.
  const std::uint64_t which = rng_.below(static_cast<std::uint64_t>(salts_) + 1);
  const std::string salt = which == 0 ? "" : std::string(30, 's') + static_cast<char>('a' + which);
  std::vector<SequenceHandle> handles;
  scheduler_.add_group(next_group_++, prompt, n, max_tokens, handles, adapter, salt);
  for (const SequenceHandle handle : handles) {
    expected_[handle] = {rng_.next_u64(), max_tokens, scheduler_.sequence(handle).arrival, salt};
  }
  submitted += n;
}

void SchedulerDriver::step() {
  const StepPlan& plan = scheduler_.schedule();
  ASSERT_LE(plan.tokens, scheduler_.config().max_batch_tokens);
  ASSERT_LE(plan.chunks.size(), static_cast<std::size_t>(scheduler_.config().max_sequences));
  if (!scheduler_.idle() && !(scheduler_.held() && scheduler_.drained())) {
    ASSERT_GT(plan.tokens, 0);
  }
  for (const StepPlan::Copy& copy : plan.copies) {
    for (std::int32_t i = 0; i < page_size(); ++i) slot(copy.to, i) = slot(copy.from, i);
  }
  // All keys are written before any is read, as the forward does in each layer. Rows of one adapter are
  // neighbours.
  std::int32_t row = 0, adapter = kNoAdapter;
  row_of_end_.clear();
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    const Sequence& sequence = scheduler_.sequence(chunk.sequence);
    ASSERT_EQ(chunk.row, row);
    ASSERT_GE(sequence.adapter, adapter);
    if (scheduler_.held()) {
      ASSERT_TRUE(begun_.contains(sequence.group)) << "a group begins in a hold";
    }
    mixed_steps += row > 0 && sequence.adapter != adapter ? 1 : 0;
    adapter = sequence.adapter;
    row += chunk.count;
    write(chunk);
    if (::testing::Test::HasFatalFailure()) return;
  }
  ASSERT_EQ(row, plan.tokens);
  for (const StepPlan::Chunk& chunk : plan.chunks) read_back(chunk);
  Text drawn;
  row = 0;
  for (const StepPlan::Sample& sample : plan.samples) {
    ASSERT_GE(sample.row, row);
    row = sample.row;
    drawn.push_back(draw_for(sample));
  }
  last_started_ = newest_started_;
  scheduler_.commit(drawn);
  const std::vector<StepPlan::Sample> samples = plan.samples;
  for (const StepPlan::Sample& sample : samples) end_if_last(sample.sequence);
  forget_waiting();
  ++steps;
  if (pending_ && scheduler_.drained()) apply_change();
}

void SchedulerDriver::abort_one() {
  if (expected_.empty()) return;
  const auto place = std::next(expected_.begin(), static_cast<std::ptrdiff_t>(rng_.below(expected_.size())));
  const std::vector<SequenceHandle> members = scheduler_.members(scheduler_.sequence(place->first).group);
  for (const SequenceHandle handle : members) {
    scheduler_.remove(handle);
    expected_.erase(handle);
    keys_.erase(handle);
    ++ended;
  }
}

void SchedulerDriver::change_weights() {
  if (pending_) return;
  pending_adapter_.reset();
  if (adapters_ > 0 && rng_.below(2) == 0) {
    pending_adapter_ = static_cast<std::int32_t>(rng_.below(static_cast<std::uint64_t>(adapters_) + 1)) - 1;
  }
  if (change_ != WeightChange::kDrain) return apply_change();
  pending_ = true;
  scheduler_.hold();
  begun_.clear();
  for (const SequenceHandle handle : scheduler_.begun()) begun_.insert(scheduler_.sequence(handle).group);
  if (scheduler_.drained()) apply_change();
}

void SchedulerDriver::apply_change() {
  if (change_ == WeightChange::kAbort) {
    for (const SequenceHandle handle : scheduler_.begun(pending_adapter_)) {
      scheduler_.remove(handle);
      expected_.erase(handle);
      keys_.erase(handle);
      ++ended;
    }
  }
  for (const auto& [handle, expected] : expected_) note_found(handle, scheduler_.sequence(handle).computed);
  scheduler_.new_weights(change_, pending_adapter_);
  for (std::size_t i = 0; i < generations_.size(); ++i) {
    const bool changed = !pending_adapter_ || static_cast<std::int32_t>(i) + kNoAdapter == *pending_adapter_;
    if (changed) generations_[i] = next_generation_++;
  }
  for (auto& [handle, expected] : expected_) {
    const Sequence& sequence = scheduler_.sequence(handle);
    if (pending_adapter_ && sequence.adapter != *pending_adapter_) continue;
    const bool begun = sequence.status == SequenceStatus::kRunning || sequence.outputs() > 0;
    expected.touched = expected.touched || begun;
    if (change_ == WeightChange::kDrain || change_ == WeightChange::kAbort) {
      ASSERT_FALSE(begun);
    }
  }
  forget_waiting();
  pending_ = false;
  ++changes;
}

void SchedulerDriver::check() const {
  scheduler_.check_invariants();
  ASSERT_EQ(expected_.size(), static_cast<std::size_t>(scheduler_.running() + scheduler_.waiting()));
}

// A sequence that waits has no pages: what it finds when it runs again is of the weights of then.
void SchedulerDriver::forget_waiting() {
  for (const auto& [handle, expected] : expected_) {
    if (scheduler_.sequence(handle).status == SequenceStatus::kWaiting) keys_.erase(handle);
  }
}

// Pages that somebody else computed must be of the weights of now alone.
void SchedulerDriver::note_found(SequenceHandle handle, std::int32_t count) {
  std::vector<std::uint64_t>& keys = keys_[handle];
  if (!keys.empty()) return;
  const Sequence& sequence = scheduler_.sequence(handle);
  std::uint64_t key = first_key(expected_.at(handle));
  for (std::int32_t i = 0; i < count; ++i) {
    key = key_after(key, sequence.tokens[static_cast<std::size_t>(i)], generation_of(sequence.adapter));
    keys.push_back(key);
  }
}

void SchedulerDriver::write(const StepPlan::Chunk& chunk) {
  const Sequence& sequence = scheduler_.sequence(chunk.sequence);
  ASSERT_EQ(chunk.start, sequence.computed);
  ASSERT_LE(chunk.start + chunk.count, sequence.known());
  const bool begins = sequence.sample == 0 && keys_[chunk.sequence].empty() && sequence.outputs() == 0;
  if (begins && chunk.start > 0 && !expected_.at(chunk.sequence).salt.empty()) ++found;
  note_found(chunk.sequence, chunk.start);
  std::vector<std::uint64_t>& keys = keys_.at(chunk.sequence);
  ASSERT_EQ(keys.size(), static_cast<std::size_t>(chunk.start));
  for (std::int32_t position = chunk.start; position < chunk.start + chunk.count; ++position) {
    const std::uint64_t before = keys.empty() ? first_key(expected_.at(chunk.sequence)) : keys.back();
    keys.push_back(key_after(before, sequence.tokens[static_cast<std::size_t>(position)],
                             generation_of(sequence.adapter)));
    slot_of(sequence, position) = keys.back();
  }
  row_of_end_[chunk.row + chunk.count - 1] = {chunk.sequence, chunk.start + chunk.count};
}

// The queries of a chunk see every key of their text, from whichever page.
void SchedulerDriver::read_back(const StepPlan::Chunk& chunk) {
  const Sequence& sequence = scheduler_.sequence(chunk.sequence);
  const std::vector<std::uint64_t>& keys = keys_.at(chunk.sequence);
  for (std::int32_t position = 0; position < chunk.start + chunk.count; ++position) {
    ASSERT_EQ(slot_of(sequence, position), keys[static_cast<std::size_t>(position)])
        << "position " << position << " of " << sequence.known();
  }
}

std::int32_t SchedulerDriver::draw_for(const StepPlan::Sample& sample) {
  const Sequence& sequence = scheduler_.sequence(sample.sequence);
  const auto [source, end] = row_of_end_.at(sample.row);
  EXPECT_EQ(end, sequence.known());
  EXPECT_EQ(scheduler_.sequence(source).tokens, sequence.tokens);
  EXPECT_EQ(scheduler_.sequence(source).adapter, sequence.adapter);
  EXPECT_EQ(expected_.at(source).salt, expected_.at(sample.sequence).salt);
  const Expected& expected = expected_.at(sample.sequence);
  if (sequence.outputs() == 0) {  // first come, first served
    EXPECT_GT(expected.arrival, last_started_);
    newest_started_ = std::max(newest_started_, expected.arrival);
  }
  return draw(slot_of(scheduler_.sequence(source), end - 1), expected.seed, sequence.outputs());
}

void SchedulerDriver::end_if_last(SequenceHandle handle) {
  const Sequence& sequence = scheduler_.sequence(handle);
  const Expected& expected = expected_.at(handle);
  const std::int32_t max_model_len = scheduler_.config().max_model_len;
  if (!is_last(sequence.tokens.back(), sequence.outputs(), expected, sequence.known(), max_model_len)) return;
  const auto prompt_end = sequence.tokens.begin() + sequence.prompt_tokens;
  if (!expected.touched) {
    const Text output(prompt_end, sequence.tokens.end());
    EXPECT_EQ(output, naive_output({sequence.tokens.begin(), prompt_end}, expected,
                                   generation_of(sequence.adapter), max_model_len));
    ++pure_answers;
  }
  expected_.erase(handle);
  keys_.erase(handle);
  scheduler_.remove(handle);
  ++ended;
}

SchedulerConfig random_config(Rng& rng) {
  SchedulerConfig config;
  config.max_sequences = static_cast<std::int32_t>(1 + rng.below(9));
  config.max_batch_tokens = static_cast<std::int32_t>(1 + rng.below(40));
  config.page_size = static_cast<std::int32_t>(1 + rng.below(6));
  config.max_model_len = static_cast<std::int32_t>(4 + rng.below(50));
  const std::int32_t of_one = (config.max_model_len + config.page_size - 1) / config.page_size;
  // From one sequence's worth to plenty.
  config.num_pages = of_one + static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(of_one * 4)));
  return config;
}

}  // namespace rlcpp::rollout
