#include "orchestrator/scheduler.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "orchestrator/stub_policy.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

using testing::adder;
using testing::adding;
using testing::byte_codec;
using testing::StubPolicy;

// A scheduler with everything it needs.
struct Bench {
  Bench(StubPolicy::Answer answer, const SchedulerOptions& options, const BufferSection& buffer_section = {},
        std::uint64_t timing = 1, std::int64_t tasks = 50)
      : policy(std::move(answer), timing),
        environments({adding("add", tasks)}, byte_codec()),
        buffer(buffer_section, {{"add", tasks, [](std::int64_t i) { return static_cast<std::uint64_t>(i); }}},
               options.seed),
        scheduler(policy, environments, buffer, options) {}
  StubPolicy policy;
  Environments environments;
  Buffer buffer;
  Scheduler scheduler;
};

SchedulerOptions options_of(std::int64_t batch_size, std::int64_t per_example, double oversampling = 1.0) {
  SchedulerOptions options;
  options.batch_size = batch_size;
  options.rollouts_per_example = per_example;
  options.oversampling_factor = oversampling;
  options.seq_len = 200;
  options.stop_ids = {0};
  options.seed = 11;
  return options;
}

// Everything of a batch that may depend on order.
std::string content(const Scheduler::Batch& batch) {
  std::string out;
  for (const Group& group : batch.groups) {
    out += fmt::format("{}:{}:", group.id, group.example.index);
    for (const Rollout& rollout : group.rollouts)
      out += fmt::format("{}={};", rollout.id, rollout.responses.at(0));
  }
  return out;
}

TEST(Scheduler, WholeGroupsScoredAndNumbered) {
  Bench bench(adder(0.5), options_of(24, 4));
  const Scheduler::Batch batch = bench.scheduler.collect({});
  ASSERT_EQ(batch.groups.size(), 6U);
  EXPECT_EQ(batch.cancelled_rollouts, 0);
  EXPECT_EQ(batch.dropped_groups, 0);
  EXPECT_EQ(bench.policy.requests.size(), 6U);  // no more than needed
  std::set<std::int64_t> ids;
  int right = 0;
  for (const Group& group : batch.groups) {
    ASSERT_EQ(group.rollouts.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      const Rollout& rollout = group.rollouts[i];
      EXPECT_EQ(rollout.sample, static_cast<std::int32_t>(i));
      EXPECT_EQ(rollout.id, group.id * 4 + rollout.sample);
      EXPECT_TRUE(ids.insert(rollout.id).second);
      const bool correct = rollout.responses.at(0).find("{" + group.task.answer + "}") != std::string::npos;
      EXPECT_EQ(rollout.reward, correct ? 1.0 : 0.0);
      right += correct ? 1 : 0;
    }
  }
  EXPECT_GT(right, 2);
  EXPECT_LT(right, 22);
  EXPECT_EQ(bench.scheduler.next_group(), 6);
}

TEST(Scheduler, RequestsCarrySeedsLimitsAndStops) {
  SchedulerOptions options = options_of(8, 2);
  options.sampling.temperature = 0.7;
  options.sampling.max_tokens = 30;
  Bench bench(adder(0.5), options);
  bench.scheduler.collect({});
  std::set<std::uint64_t> seeds;
  for (const rollout::GroupRequest& request : bench.policy.requests) {
    EXPECT_EQ(request.n, 2);
    EXPECT_EQ(request.max_tokens, 30);
    EXPECT_EQ(request.sampling.temperature, 0.7F);
    EXPECT_EQ(request.stop_ids, std::vector<std::int32_t>{0});
    for (std::int32_t sample = 0; sample < 2; ++sample) {
      EXPECT_EQ(request.seeds[static_cast<std::size_t>(sample)], rollout_seed(11, request.id, sample));
      EXPECT_TRUE(seeds.insert(request.seeds[static_cast<std::size_t>(sample)]).second);
    }
  }
  options.seq_len = 20;
  Bench tight(adder(0.5), options);
  const Scheduler::Batch batch = tight.scheduler.collect({});
  for (const rollout::GroupRequest& request : tight.policy.requests) {
    EXPECT_EQ(request.max_tokens, 20 - static_cast<std::int64_t>(request.prompt.size()));
  }
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      EXPECT_LE(group.prompt_length() + rollout.length(), 20);
      EXPECT_EQ(rollout.truncated(), rollout.ids.back() != 0);
    }
  }
}

TEST(Scheduler, BatchDoesNotDependOnTiming) {
  BufferSection filtering;
  filtering.online_difficulty_filtering = true;
  Bench reference(adder(0.6), options_of(40, 4), filtering, 1);
  const std::string first = content(reference.scheduler.collect({}));
  const std::string second = content(reference.scheduler.collect({}));
  EXPECT_NE(first, second);
  for (std::uint64_t timing = 2; timing < 12; ++timing) {
    Bench bench(adder(0.6), options_of(40, 4), filtering, timing);
    EXPECT_EQ(content(bench.scheduler.collect({})), first);
    EXPECT_EQ(content(bench.scheduler.collect({})), second);
  }
}

TEST(Scheduler, FilteredGroupsAreReplaced) {
  BufferSection filtering;
  filtering.online_difficulty_filtering = true;
  Bench bench(adder(0.5), options_of(20, 2), filtering);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  ASSERT_EQ(batch.groups.size(), 10U);
  EXPECT_GT(batch.dropped_groups, 0);
  for (const Group& group : batch.groups) EXPECT_EQ(group.mean_reward(), 0.5);
  EXPECT_EQ(static_cast<std::int64_t>(bench.policy.requests.size()), 10 + batch.dropped_groups);
  EXPECT_EQ(bench.policy.outstanding(), 0);
}

TEST(Scheduler, OversamplingKeepsMoreInFlightAndAbortsTheRest) {
  Bench bench(adder(0.5), options_of(20, 2, 2.5));
  const Scheduler::Batch batch = bench.scheduler.collect({});
  ASSERT_EQ(batch.groups.size(), 10U);
  EXPECT_EQ(bench.policy.largest_outstanding, 50);
  EXPECT_EQ(bench.policy.outstanding(), 0);
  EXPECT_GT(bench.policy.aborts, 0);
  EXPECT_EQ(batch.cancelled_rollouts, 2 * (static_cast<std::int64_t>(bench.policy.requests.size()) - 10));
  // Nothing of the aborted groups is left behind.
  EXPECT_EQ(bench.scheduler.collect({}).groups.size(), 10U);
}

TEST(Scheduler, LongPromptsAreLeftOut) {
  SchedulerOptions options = options_of(16, 2);
  options.seq_len = 9;  // "7 + 12" fits with a token to spare, "712 + 123" does not
  Bench bench(adder(0.5), options, {}, 1, 4000);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  EXPECT_EQ(batch.groups.size(), 8U);
  EXPECT_GT(batch.too_long, 0);
  EXPECT_EQ(bench.buffer.normal_examples(), 4000 - batch.too_long);
  for (const Group& group : batch.groups) EXPECT_LT(group.prompt_length(), 9);
  options.seq_len = 3;
  Bench hopeless(adder(0.5), options, {}, 1, 4000);
  EXPECT_THROW(hopeless.scheduler.collect({}), Error);
  Bench few(adder(0.5), options, {}, 1, 40);  // fewer than it draws before giving up
  try {
    few.scheduler.collect({});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(e.because().find("seq_len is 3 tokens"), std::string::npos) << e.because();
  }
}

TEST(Scheduler, SkipVerificationScoresNothing) {
  SchedulerOptions options = options_of(8, 2);
  options.skip_verification = true;
  Bench bench(adder(1.0), options);
  for (const Group& group : bench.scheduler.collect({}).groups) {
    for (const Rollout& rollout : group.rollouts) {
      EXPECT_EQ(rollout.reward, 0.0);
      EXPECT_FALSE(rollout.responses.at(0).empty());
      EXPECT_TRUE(rollout.parts.empty());
    }
  }
}

TEST(Scheduler, ProgressReachesTheBatchSize) {
  Bench bench(adder(0.5), options_of(24, 4));
  std::int64_t last = -1;
  bench.scheduler.collect([&](std::int64_t done, std::int64_t of) {
    EXPECT_EQ(of, 24);
    EXPECT_GE(done, last);
    last = done;
  });
  EXPECT_EQ(last, 24);
}

// A client that takes requests and never answers.
class Silent final : public client::PolicyClient {
 public:
  const std::string& name() const override { return name_; }
  void submit(rollout::GroupRequest) override {}
  void abort(std::int64_t) override {}
  Poll poll() override { return {}; }
  std::int64_t outstanding() const override { return 1; }
  void set_version(std::int64_t) override {}
  std::int64_t version() const override { return 0; }

 private:
  std::string name_ = "the silent server";
};

TEST(Scheduler, ASilentClientIsNamed) {
  Silent silent;
  Environments environments({adding("add", 9)}, byte_codec());
  Buffer buffer({}, {{"add", 9, [](std::int64_t) { return std::uint64_t{0}; }}}, 1);
  SchedulerOptions options = options_of(2, 1);
  options.wait = {std::chrono::milliseconds(5), std::chrono::milliseconds(20)};
  Scheduler scheduler(silent, environments, buffer, options);
  try {
    scheduler.collect({});
    ADD_FAILURE() << "it must give up";
  } catch (const Error& e) {
    EXPECT_NE(e.render().find("the silent server"), std::string::npos) << e.render();
  }
}

}  // namespace
}  // namespace rlcpp::orchestrator
