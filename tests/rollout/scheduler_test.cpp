// The scheduler under random traffic, and what it does with one request after the other.
#include "rollout/scheduler.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "rollout/scheduler_driver.h"

namespace rlcpp::rollout {
namespace {

struct Traffic {
  std::int64_t preemptions = 0, cached = 0, recomputed = 0, kept = 0, changes = 0, pure = 0, mixed_steps = 0,
               found = 0;
};

// Weights change by `change`, or never; requests read one of so many adapters, or none, and have one of so
// many salts, or none.
void run_random(Rng& rng, std::optional<WeightChange> change, std::int32_t adapters, std::int32_t salts,
                Traffic& traffic) {
  const SchedulerConfig config = random_config(rng);
  SchedulerDriver driver(rng, config, change.value_or(WeightChange::kRecompute), adapters, salts);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t what = rng.below(40);
    if (what < 4 && driver.scheduler().waiting() < 40) {
      driver.submit();
    } else if (what == 4) {
      driver.abort_one();
    } else if (what == 5 && change.has_value()) {
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
  ASSERT_TRUE(driver.scheduler().drained());
  ASSERT_LE(driver.scheduler().pool().index().salts().size(), static_cast<std::size_t>(salts));
  const SchedulerStats& stats = driver.scheduler().stats();
  traffic.preemptions += stats.preemptions;
  traffic.cached += stats.cached_tokens;
  traffic.recomputed += stats.recomputed_sequences;
  traffic.kept += stats.kept_sequences;
  traffic.changes += driver.changes;
  traffic.pure += driver.pure_answers;
  traffic.mixed_steps += driver.mixed_steps;
  traffic.found += driver.found;
}

Traffic run_rounds(std::optional<WeightChange> change, std::int32_t adapters, int rounds,
                   std::int32_t salts = 0) {
  Rng rng(test::fresh_seed());
  Traffic traffic;
  for (int round = 0; round < rounds; ++round) {
    run_random(rng, change, adapters, salts, traffic);
    if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) {
      ADD_FAILURE() << "seed " << rng.seed() << ", round " << round;
      break;
    }
  }
  return traffic;
}

const int kRounds = test::long_tier() ? 10000 : 120;

TEST(Scheduler, RandomTrafficIsExactFairAndLosesNothing) {
  const Traffic traffic = run_rounds({}, 0, kRounds);
  EXPECT_GT(traffic.preemptions, 50);  // the rounds reached what they are about
  EXPECT_GT(traffic.cached, 500);
  EXPECT_GT(traffic.pure, 500);
}

TEST(Scheduler, AdaptersShareNoPageAndTheirRowsLieTogether) {
  const Traffic traffic = run_rounds({}, 2, kRounds);
  EXPECT_GT(traffic.preemptions, 50);
  EXPECT_GT(traffic.cached, 300);
  EXPECT_GT(traffic.mixed_steps, 300);
}

// A page reaches requests of one salt alone, and does reach them; under weights that change as well.
TEST(Scheduler, SaltsShareNoPageAndKeepTheirOwn) {
  const Traffic traffic = run_rounds({}, 0, kRounds, 2);
  EXPECT_GT(traffic.preemptions, 50);
  EXPECT_GT(traffic.pure, 500);
  EXPECT_GT(traffic.found, 100);
  const Traffic changing = run_rounds(WeightChange::kRecompute, 2, kRounds, 2);
  EXPECT_GT(changing.changes, 100);
  EXPECT_GT(changing.pure, 100);
  EXPECT_GT(changing.found, 20);
}

// Whatever is done with what runs: no page of old weights reaches anybody who did not hold it, and everything
// ends.
class WeightChanges : public ::testing::TestWithParam<WeightChange> {};

TEST_P(WeightChanges, LeaveNoStalePageBehind) {
  for (const std::int32_t adapters : {0, 2}) {
    const Traffic traffic = run_rounds(GetParam(), adapters, kRounds);
    EXPECT_GT(traffic.changes, 100);
    EXPECT_GT(traffic.pure, 100);
    EXPECT_GT(traffic.preemptions, 20);
    EXPECT_EQ(traffic.kept > 0, GetParam() == WeightChange::kKeep);
    const bool ends = GetParam() == WeightChange::kDrain || GetParam() == WeightChange::kAbort;
    EXPECT_EQ(traffic.recomputed == 0, ends);
  }
}

INSTANTIATE_TEST_SUITE_P(Scheduler, WeightChanges,
                         ::testing::Values(WeightChange::kKeep, WeightChange::kRecompute,
                                           WeightChange::kDrain, WeightChange::kAbort),
                         [](const auto& kind) { return std::string(name_of(kind.param)); });

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

TEST(Scheduler, ASaltIsRememberedAsLongAsItsPages) {
  Scheduler scheduler(
      {.max_sequences = 4, .max_batch_tokens = 64, .page_size = 4, .num_pages = 8, .max_model_len = 32});
  const Salts& salts = scheduler.pool().index().salts();
  std::vector<SequenceHandle> handles;
  const auto computed_for = [&](std::int64_t group, std::string_view salt, const Text& prompt) {
    const std::int64_t before = scheduler.stats().prefill_tokens;
    scheduler.add_group(group, prompt, 1, 1, handles, kNoAdapter, salt);
    drain(scheduler, 1);
    return scheduler.stats().prefill_tokens - before;
  };
  EXPECT_EQ(computed_for(1, "", Text(12, 1)), 12);
  EXPECT_EQ(computed_for(2, "alice", Text(12, 1)), 12);
  EXPECT_EQ(computed_for(3, "alice", Text(12, 1)), 4);
  EXPECT_EQ(computed_for(4, "", Text(12, 1)), 4);
  EXPECT_EQ(salts.size(), 1U);
  // All eight pages are taken by another text: nothing is left of the salt.
  EXPECT_EQ(computed_for(5, "", Text(31, 2)), 31);
  EXPECT_EQ(salts.size(), 0U);
  EXPECT_EQ(computed_for(6, "alice", Text(12, 1)), 12);
  // A prompt shorter than a page leaves no page, and no salt.
  EXPECT_EQ(computed_for(7, "bob", Text(3, 1)), 3);
  EXPECT_EQ(salts.size(), 1U);
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
