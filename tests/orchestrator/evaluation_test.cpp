#include "orchestrator/evaluation.h"

#include <gtest/gtest.h>

#include "orchestrator/stub_policy.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

using testing::adder;
using testing::adding;
using testing::byte_codec;
using testing::StubPolicy;

EvaluationOptions options_of(std::int64_t examples, std::int64_t per_example) {
  EvaluationOptions options;
  options.num_examples = examples;
  options.rollouts_per_example = per_example;
  options.seq_len = 100;
  options.groups_in_flight = 5;
  options.stop_ids = {0};
  return options;
}

std::string content(const EvaluationResult& result) {
  std::string out;
  for (const Group& group : result.groups) {
    out += fmt::format("{}:", group.example.index);
    for (const Rollout& rollout : group.rollouts) out += rollout.responses.at(0) + ";";
  }
  return out;
}

TEST(Evaluation, ExamplesInOrderWhateverTheTiming) {
  const Environments environments({adding("add", 30)}, byte_codec());
  std::string first;
  for (std::uint64_t timing = 1; timing < 6; ++timing) {
    StubPolicy policy(adder(0.5), timing);
    policy.set_version(static_cast<std::int64_t>(timing));
    const EvaluationResult result = evaluate(policy, environments, 0, options_of(20, 3), {});
    ASSERT_EQ(result.groups.size(), 20U);
    for (std::size_t i = 0; i < 20; ++i)
      EXPECT_EQ(result.groups[i].example.index, static_cast<std::int64_t>(i));
    EXPECT_LE(policy.largest_outstanding, 15);
    if (first.empty()) first = content(result);
    EXPECT_EQ(content(result), first);
    double sum = 0;
    for (const Group& group : result.groups) sum += group.mean_reward();
    EXPECT_DOUBLE_EQ(result.reward, sum / 20);
  }
}

TEST(Evaluation, CountsSkipsAndLimits) {
  const Environments environments({adding("add", 12)}, byte_codec());
  StubPolicy policy(adder(1.0));
  EXPECT_EQ(evaluate(policy, environments, 0, options_of(-1, 1), {}).groups.size(), 12U);
  EXPECT_EQ(evaluate(policy, environments, 0, options_of(50, 1), {}).groups.size(), 12U);
  EvaluationOptions options = options_of(4, 1);
  options.skip_first = 9;
  const EvaluationResult rest = evaluate(policy, environments, 0, options, {});
  ASSERT_EQ(rest.groups.size(), 3U);
  EXPECT_EQ(rest.groups[0].example.index, 9);
  EXPECT_EQ(rest.reward, 1.0);
  options = options_of(-1, 1);
  options.seq_len = 8;
  const EvaluationResult tight = evaluate(policy, environments, 0, options, {});
  EXPECT_EQ(static_cast<std::int64_t>(tight.groups.size()) + tight.too_long, 12);
  EXPECT_GT(tight.too_long, 0);
}

// By going through every choice of j of n.
double pass_at_by_enumeration(int n, int correct, int j) {
  int all = 0, passed = 0;
  for (unsigned choice = 0; choice < (1U << n); ++choice) {
    if (__builtin_popcount(choice) != j) continue;
    all += 1;
    passed += (choice & ((1U << correct) - 1)) != 0 ? 1 : 0;
  }
  return static_cast<double>(passed) / all;
}

TEST(Evaluation, PassAtKEqualsEnumeration) {
  for (int n = 1; n <= 9; ++n) {
    for (int correct = 0; correct <= n; ++correct) {
      for (int j = 1; j <= n; ++j)
        EXPECT_NEAR(pass_at(n, correct, j), pass_at_by_enumeration(n, correct, j), 1e-12);
    }
  }
}

TEST(Evaluation, MetricsCarryTheReferenceNames) {
  const Environments environments({adding("add", 16)}, byte_codec());
  StubPolicy policy(adder(0.5));
  const EvaluationResult result = evaluate(policy, environments, 0, options_of(16, 4), {});
  const monitor::Metrics metrics = evaluation_metrics(result, "add");
  EXPECT_EQ(metrics.get("eval/add/avg@4"), result.reward);
  EXPECT_DOUBLE_EQ(metrics.get("eval/add/pass@1"), result.reward);
  EXPECT_GT(metrics.get("eval/add/pass@4"), metrics.get("eval/add/pass@2"));
  EXPECT_FALSE(metrics.has("eval/add/pass@3"));
  EXPECT_EQ(metrics.get("eval/add/is_truncated/mean"), 0.0);
  EXPECT_GE(metrics.get("eval/add/completion_len/max"), metrics.get("eval/add/completion_len/avg"));
  EvaluationResult graded = result;
  graded.groups[0].rollouts[0].reward = 0.5;
  EXPECT_FALSE(evaluation_metrics(graded, "add").has("eval/add/pass@1"));
}

}  // namespace
}  // namespace rlcpp::orchestrator
