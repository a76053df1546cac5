#include "bench/recorder.h"

#include "base/error.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

RecorderFacts facts() {
  RecorderFacts f;
  f.config.seq_len = 100;
  f.config.num_gpus = 2;
  f.shape = {2, 8, 2, 4, 1000, 0};
  f.peak_flops = 1e9;
  f.device_bytes = std::size_t{8} << 30;
  return f;
}

StepSample sample(double seconds) {
  StepSample s;
  s.step_seconds = seconds * 0.9;
  s.interval_seconds = seconds;
  s.tokens = 400;
  s.document_lengths = {100, 100, 100, 100};
  s.loss = 4.5;
  s.grad_norm = 1.0;
  s.peak_memory_bytes = std::size_t{2} << 30;
  return s;
}

TEST(Recorder, WarmUpIsLeftOut) {
  Recorder recorder(facts());
  recorder.step(sample(100));  // slow: start-up
  recorder.step(sample(2));
  recorder.step(sample(2));
  const Result r = recorder.result();
  EXPECT_DOUBLE_EQ(r.metrics.throughput.mean, 200);
  EXPECT_DOUBLE_EQ(r.metrics.step_time.mean, 1.8);
  EXPECT_DOUBLE_EQ(r.metrics.mfu.mean, 100 * reference_flops_per_token(facts().shape, 100) * 200 / 2e9);
  EXPECT_DOUBLE_EQ(r.metrics.peak_memory_gib, 2);
  EXPECT_DOUBLE_EQ(r.metrics.peak_memory_pct, 25);
  EXPECT_EQ(r.extension->step_seconds.size(), 2U);
  EXPECT_EQ(r.extension->losses.size(), 3U);
  EXPECT_GT(r.extension->first_step_seconds, 0);
  EXPECT_DOUBLE_EQ(r.extension->first_step_begins, r.extension->first_step_seconds - 90);
  EXPECT_DOUBLE_EQ(from_json(to_json(r), "again").extension->first_step_begins,
                   r.extension->first_step_begins);
  EXPECT_NE(recorder.table().find("Overall"), std::string::npos);
}

// 400 tokens in one second and 400 in three are 200 a second, not 267.
TEST(Recorder, AMeanIsOfAllStepsTogether) {
  Recorder recorder(facts());
  recorder.step(sample(100));
  recorder.step(sample(1));
  recorder.step(sample(3));
  const Result r = recorder.result();
  EXPECT_DOUBLE_EQ(r.metrics.throughput.mean, 200);
  EXPECT_DOUBLE_EQ(r.metrics.mfu.mean, 100 * reference_flops_per_token(facts().shape, 100) * 200 / 2e9);
  const std::vector<std::int64_t> lengths(4, 100);
  EXPECT_DOUBLE_EQ(r.extension->true_mfu.mean, 100 * 2 * true_flops_of_row(facts().shape, lengths) / 4 / 2e9);
  EXPECT_NEAR(r.metrics.throughput.max, 400, 1e-9);
}

TEST(Recorder, WorkMustBeReal) {
  Recorder too_short(facts());
  too_short.step(sample(1));
  EXPECT_THROW(too_short.result(), Error);
  Recorder no_gradient(facts());
  StepSample zero = sample(1);
  zero.grad_norm = 0;
  no_gradient.step(zero);
  no_gradient.step(zero);
  EXPECT_THROW(no_gradient.result(), Error);
}

TEST(Recorder, ProcessAgeGrows) {
  const double before = seconds_since_process_start();
  EXPECT_GE(before, 0);
  usleep(30000);
  EXPECT_GT(seconds_since_process_start(), before);
}

}  // namespace
}  // namespace rlcpp::bench
