// The scheduler without a model: a memory of pages that is written and read as the engine would, where a
// token's key is a hash of all tokens before it. A page shared wrongly, a missed copy or a stale page shows
// up as a wrong hash.
#include "rollout/scheduler.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

using Text = std::vector<std::int32_t>;

std::uint64_t key_after(std::uint64_t key, std::int32_t token) {
  return mix64(key, static_cast<std::uint64_t>(token));
}

// What is asked of one sequence, and its answer without any engine: each token is drawn from the hash of all
// before it.
struct Expected {
  std::uint64_t seed = 0;
  std::int32_t max_tokens = 0;
  std::int64_t arrival = 0;
};

std::int32_t draw(std::uint64_t key, std::uint64_t seed, std::int32_t index) {
  return static_cast<std::int32_t>(mix64(mix64(key, seed), static_cast<std::uint64_t>(index)) % 24);
}

// A drawn 23 ends a sequence early.
bool is_last(std::int32_t token, std::int32_t outputs, const Expected& expected, std::int32_t known,
             std::int32_t max_model_len) {
  return token == 23 || outputs >= expected.max_tokens || known >= max_model_len;
}

Text naive_output(Text text, const Expected& expected, std::uint64_t generation, std::int32_t max_model_len) {
  const std::size_t prompt = text.size();
  for (;;) {
    std::uint64_t key = generation;
    for (const std::int32_t token : text) key = key_after(key, token);
    const auto outputs = static_cast<std::int32_t>(text.size() - prompt);
    text.push_back(draw(key, expected.seed, outputs));
    if (is_last(text.back(), outputs + 1, expected, static_cast<std::int32_t>(text.size()), max_model_len))
      break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt), text.end()};
}

class SchedulerDriver {
 public:
  SchedulerDriver(Rng& rng, const SchedulerConfig& config)
      : rng_(rng),
        scheduler_(config),
        memory_(static_cast<std::size_t>(config.num_pages) * static_cast<std::size_t>(config.page_size)) {
    for (int i = 0; i < 3; ++i) beginnings_.push_back(random_text(1 + rng_.below(20)));
  }

  void submit() {
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
    std::vector<SequenceHandle> handles;
    scheduler_.add_group(next_group_++, prompt, n, max_tokens, handles);
    for (const SequenceHandle handle : handles) {
      expected_[handle] = {rng_.next_u64(), max_tokens, scheduler_.sequence(handle).arrival};
    }
    submitted += n;
  }

  void step() {
    const StepPlan& plan = scheduler_.schedule();
    ASSERT_LE(plan.tokens, scheduler_.config().max_batch_tokens);
    ASSERT_LE(plan.chunks.size(), static_cast<std::size_t>(scheduler_.config().max_sequences));
    if (!scheduler_.idle()) {
      ASSERT_GT(plan.tokens, 0);
    }
    for (const StepPlan::Copy& copy : plan.copies) {
      for (std::int32_t i = 0; i < page_size(); ++i) slot(copy.to, i) = slot(copy.from, i);
    }
    // All keys are written before any is read, as the forward does in each layer.
    std::int32_t row = 0;
    row_of_end_.clear();
    for (const StepPlan::Chunk& chunk : plan.chunks) {
      ASSERT_EQ(chunk.row, row);
      row += chunk.count;
      write(chunk);
    }
    ASSERT_EQ(row, plan.tokens);
    for (const StepPlan::Chunk& chunk : plan.chunks) read_back(chunk);
    Text drawn;
    for (const StepPlan::Sample& sample : plan.samples) drawn.push_back(draw_for(sample));
    scheduler_.commit(drawn);
    const std::vector<StepPlan::Sample> samples = plan.samples;
    for (const StepPlan::Sample& sample : samples) end_if_last(sample.sequence);
    ++steps;
  }

  void abort_one() {
    if (expected_.empty()) return;
    const auto place =
        std::next(expected_.begin(), static_cast<std::ptrdiff_t>(rng_.below(expected_.size())));
    const std::vector<SequenceHandle> members = scheduler_.members(scheduler_.sequence(place->first).group);
    for (const SequenceHandle handle : members) {
      scheduler_.remove(handle);
      expected_.erase(handle);
      ++ended;
    }
  }

  void change_weights() {
    scheduler_.new_weights();
    ++generation_;
    pure_ = false;  // answers are now of several generations: the naive answer does not apply
  }

  void check() const {
    scheduler_.check_invariants();
    ASSERT_EQ(expected_.size(), static_cast<std::size_t>(scheduler_.running() + scheduler_.waiting()));
  }

  const Scheduler& scheduler() const { return scheduler_; }
  std::int64_t submitted = 0, ended = 0, steps = 0;

 private:
  std::int32_t page_size() const { return scheduler_.config().page_size; }
  std::uint64_t& slot(std::int32_t page, std::int32_t offset) {
    return memory_[static_cast<std::size_t>(page * page_size() + offset)];
  }
  std::uint64_t& slot_of(const Sequence& sequence, std::int32_t position) {
    return slot(sequence.pages[static_cast<std::size_t>(position / page_size())], position % page_size());
  }
  Text random_text(std::uint64_t length) {
    Text text(length);
    for (std::int32_t& token : text) token = static_cast<std::int32_t>(rng_.below(3));
    return text;
  }

  void write(const StepPlan::Chunk& chunk) {
    const Sequence& sequence = scheduler_.sequence(chunk.sequence);
    ASSERT_EQ(chunk.start, sequence.computed);
    ASSERT_LE(chunk.start + chunk.count, sequence.known());
    for (std::int32_t position = chunk.start; position < chunk.start + chunk.count; ++position) {
      const std::uint64_t before = position == 0 ? generation_ : slot_of(sequence, position - 1);
      slot_of(sequence, position) = key_after(before, sequence.tokens[static_cast<std::size_t>(position)]);
    }
    row_of_end_[chunk.row + chunk.count - 1] = {chunk.sequence, chunk.start + chunk.count};
  }

  // The queries of a chunk see every key of their text, from whichever page.
  void read_back(const StepPlan::Chunk& chunk) {
    const Sequence& sequence = scheduler_.sequence(chunk.sequence);
    std::uint64_t key = generation_;
    for (std::int32_t position = 0; position < chunk.start + chunk.count; ++position) {
      key = key_after(key, sequence.tokens[static_cast<std::size_t>(position)]);
      ASSERT_EQ(slot_of(sequence, position), key) << "position " << position << " of " << sequence.known();
    }
  }

  std::int32_t draw_for(const StepPlan::Sample& sample) {
    const Sequence& sequence = scheduler_.sequence(sample.sequence);
    const auto [source, end] = row_of_end_.at(sample.row);
    EXPECT_EQ(end, sequence.known());
    EXPECT_EQ(scheduler_.sequence(source).tokens, sequence.tokens);
    const Expected& expected = expected_.at(sample.sequence);
    if (sequence.outputs() == 0) {  // first come, first served
      EXPECT_GT(expected.arrival, last_started_);
      last_started_ = expected.arrival;
    }
    return draw(slot_of(scheduler_.sequence(source), end - 1), expected.seed, sequence.outputs());
  }

  void end_if_last(SequenceHandle handle) {
    const Sequence& sequence = scheduler_.sequence(handle);
    const Expected& expected = expected_.at(handle);
    const std::int32_t max_model_len = scheduler_.config().max_model_len;
    if (!is_last(sequence.tokens.back(), sequence.outputs(), expected, sequence.known(), max_model_len))
      return;
    const auto prompt_end = sequence.tokens.begin() + sequence.prompt_tokens;
    if (pure_) {
      const Text output(prompt_end, sequence.tokens.end());
      EXPECT_EQ(output,
                naive_output({sequence.tokens.begin(), prompt_end}, expected, generation_, max_model_len));
    }
    expected_.erase(handle);
    scheduler_.remove(handle);
    ++ended;
  }

  Rng& rng_;
  Scheduler scheduler_;
  std::vector<std::uint64_t> memory_;
  std::vector<Text> beginnings_;
  std::map<SequenceHandle, Expected> expected_;
  std::map<std::int32_t, std::pair<SequenceHandle, std::int32_t>> row_of_end_;
  std::int64_t next_group_ = 100;
  std::int64_t last_started_ = -1;
  std::uint64_t generation_ = 1;
  bool pure_ = true;
};

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

void run_random(Rng& rng, bool weights_change, std::int64_t* preemptions, std::int64_t* cached) {
  const SchedulerConfig config = random_config(rng);
  SchedulerDriver driver(rng, config);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t what = rng.below(40);
    if (what < 4 && driver.scheduler().waiting() < 40) {
      driver.submit();
    } else if (what == 4) {
      driver.abort_one();
    } else if (what == 5 && weights_change) {
      driver.change_weights();
    } else {
      driver.step();
    }
    driver.check();
    if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) return;
  }
  // Everything ends: each sequence, once it is the oldest, computes at least one token a step.
  const std::int64_t bound = driver.steps + driver.submitted * 3 * config.max_model_len;
  while (!driver.scheduler().idle()) {
    ASSERT_LT(driver.steps, bound);
    driver.step();
    driver.check();
    if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) return;
  }
  ASSERT_EQ(driver.ended, driver.submitted);
  ASSERT_EQ(driver.scheduler().pool().held_pages(), 0);
  *preemptions += driver.scheduler().stats().preemptions;
  *cached += driver.scheduler().stats().cached_tokens;
}

TEST(Scheduler, RandomTrafficIsExactFairAndLosesNothing) {
  Rng rng(test::fresh_seed());
  std::int64_t preemptions = 0, cached = 0;
  const int rounds = test::long_tier() ? 20000 : 250;
  for (int round = 0; round < rounds; ++round) {
    run_random(rng, round % 2 == 1, &preemptions, &cached);
    if (HasFatalFailure() || HasNonfatalFailure()) FAIL() << "seed " << rng.seed() << ", round " << round;
  }
  EXPECT_GT(preemptions, 100);  // the rounds reached what they are about
  EXPECT_GT(cached, 1000);
}

// Runs to the end with sequences of a fixed number of outputs; returns the steps.
std::int64_t drain(Scheduler& scheduler, std::int32_t outputs) {
  std::int64_t steps = 0;
  while (!scheduler.idle()) {
    const StepPlan& plan = scheduler.schedule();
    Text drawn;
    for (std::size_t i = 0; i < plan.samples.size(); ++i) drawn.push_back(static_cast<std::int32_t>(i % 3));
    scheduler.commit(drawn);
    const std::vector<StepPlan::Sample> samples = plan.samples;
    for (const StepPlan::Sample& sample : samples) {
      if (scheduler.sequence(sample.sequence).outputs() == outputs) scheduler.remove(sample.sequence);
    }
    scheduler.check_invariants();
    ++steps;
  }
  return steps;
}

TEST(Scheduler, APromptIsComputedOnceForItsGroup) {
  Scheduler scheduler(
      {.max_sequences = 8, .max_batch_tokens = 64, .page_size = 4, .num_pages = 64, .max_model_len = 32});
  std::vector<SequenceHandle> handles;
  const Text prompt{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};  // two full pages and half of one
  scheduler.add_group(1, prompt, 8, 5, handles);

  const StepPlan& first = scheduler.schedule();
  EXPECT_EQ(first.tokens, 10);
  ASSERT_EQ(first.samples.size(), 8U);
  for (const StepPlan::Sample& sample : first.samples) EXPECT_EQ(sample.row, 9);
  EXPECT_EQ(scheduler.pool().held_pages(), 3);
  scheduler.commit(Text{0, 1, 2, 3, 4, 5, 6, 7});

  // Each writes its own token behind the prompt: seven copies of the half page, the last holder writes in
  // place.
  const StepPlan& second = scheduler.schedule();
  EXPECT_EQ(second.tokens, 8);
  EXPECT_EQ(second.copies.size(), 7U);
  EXPECT_EQ(scheduler.pool().held_pages(), 2 + 8);
  scheduler.commit(Text(8, 0));
  drain(scheduler, 5);
  EXPECT_EQ(scheduler.stats().prefill_tokens, 10);
  EXPECT_EQ(scheduler.stats().decode_tokens, 8 * 4);
  EXPECT_EQ(scheduler.stats().cached_tokens, 7 * 10);
  EXPECT_EQ(scheduler.stats().preemptions, 0);
}

TEST(Scheduler, GroupLargerThanTheSlotsComesThroughThePrefixIndex) {
  Scheduler scheduler(
      {.max_sequences = 3, .max_batch_tokens = 64, .page_size = 4, .num_pages = 64, .max_model_len = 32});
  std::vector<SequenceHandle> handles;
  scheduler.add_group(1, Text(9, 1), 8, 5, handles);
  drain(scheduler, 5);
  // Three groups of slots: 9 tokens, then twice 1 token after two cached pages.
  EXPECT_EQ(scheduler.stats().prefill_tokens, 9 + 1 + 1);
}

TEST(Scheduler, LaterRequestFindsTheFullPagesOfAnEarlierOne) {
  Scheduler scheduler(
      {.max_sequences = 4, .max_batch_tokens = 64, .page_size = 4, .num_pages = 64, .max_model_len = 32});
  std::vector<SequenceHandle> handles;
  scheduler.add_group(1, Text(12, 1), 1, 1, handles);
  drain(scheduler, 1);
  scheduler.add_group(2, Text(12, 1), 1, 1,
                      handles);  // the last token is computed again: its hidden state is needed
  drain(scheduler, 1);
  EXPECT_EQ(scheduler.stats().prefill_tokens, 12 + 4);
  EXPECT_EQ(scheduler.stats().cached_tokens, 8);
  scheduler.new_weights();
  scheduler.add_group(3, Text(12, 1), 1, 1, handles);
  drain(scheduler, 1);
  EXPECT_EQ(scheduler.stats().prefill_tokens, 12 + 4 + 12);
}

TEST(Scheduler, DecodeAndPrefillShareAForward) {
  Scheduler scheduler(
      {.max_sequences = 4, .max_batch_tokens = 8, .page_size = 4, .num_pages = 64, .max_model_len = 64});
  std::vector<SequenceHandle> handles;
  scheduler.add_group(1, Text(3, 1), 1, 20, handles);
  scheduler.schedule();
  scheduler.commit(Text{1});
  scheduler.add_group(2, Text(20, 2), 1, 20, handles);
  std::vector<std::int32_t> counts;
  for (int i = 0; i < 3; ++i) {
    const StepPlan& plan = scheduler.schedule();
    ASSERT_EQ(plan.chunks.size(), 2U);
    EXPECT_EQ(plan.chunks[0].count, 1);
    counts.push_back(plan.chunks[1].count);
    scheduler.commit(Text(plan.samples.size(), 1));
  }
  EXPECT_EQ(counts, (std::vector<std::int32_t>{7, 7, 6}));
}

TEST(Scheduler, YoungestIsPreemptedAndTheOldestNever) {
  // Pages for one sequence and a half.
  Scheduler scheduler(
      {.max_sequences = 4, .max_batch_tokens = 64, .page_size = 2, .num_pages = 12, .max_model_len = 16});
  std::vector<SequenceHandle> handles;
  scheduler.add_group(1, Text{1, 2}, 1, 14, handles);
  scheduler.add_group(2, Text{3, 4}, 1, 14, handles);
  drain(scheduler, 14);
  EXPECT_GT(scheduler.stats().preemptions, 0);
  // The older one computed each token once; what was computed twice is the younger one's.
  EXPECT_EQ(scheduler.pool().held_pages(), 0);
}

TEST(Scheduler, NumbersAreChecked) {
  const SchedulerConfig good{
      .max_sequences = 4, .max_batch_tokens = 64, .page_size = 2, .num_pages = 8, .max_model_len = 16};
  check_config(good);
  const auto expect_refused = [](SchedulerConfig config, const std::string& field) {
    try {
      check_config(config);
      FAIL() << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find(field), std::string::npos) << error.render();
    }
  };
  SchedulerConfig bad = good;
  bad.num_pages = 7;
  expect_refused(bad, "num_pages");
  bad = good;
  bad.max_sequences = 0;
  expect_refused(bad, "max_sequences");
  bad = good;
  bad.page_size = 0;
  expect_refused(bad, "page_size");
  bad = good;
  bad.max_batch_tokens = 0;
  expect_refused(bad, "max_batch_tokens");
  bad = good;
  bad.max_model_len = 1;
  expect_refused(bad, "max_model_len");
}

}  // namespace
}  // namespace rlcpp::rollout
