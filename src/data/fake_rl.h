// Made-up rollouts for benchmarks and tests of the trainer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/batch.h"

namespace rlcpp::data {

struct FakeRlOptions {
  std::int64_t micro_batches = 2;
  std::int64_t seq_len = 0;
  std::int64_t vocab_size = 0;
  bool generate_samples = false;  // several documents of 1 to seq_len / 8 tokens; else one of seq_len
  std::uint64_t seed = 0;
};

// Rollouts of step `step`: ids uniform in [0, 100) (generate_samples: [0, 120000)) within the vocabulary,
// every token but the first trained, advantages ~ N(0, 1), temperature 1 (prime-rl trainer/rl/data.py,
// January 2026). Sampler log-probabilities are 0 until set_inference_logprobs().
std::vector<MicroBatch> fake_rl_batches(const FakeRlOptions& options, std::int64_t step);

// Replaces the sampler's log-probabilities by the policy's own plus N(0, sigma): ratios stay near one, so the
// loss masks keep the tokens and gradients are not zero, unlike with the reference's N(0, 1) (prime-rl
// rejects whole rows of them).
void set_inference_logprobs(MicroBatch& batch,
                            const std::function<std::vector<float>(const MicroBatch&)>& policy_logprobs,
                            double sigma, std::uint64_t seed);

}  // namespace rlcpp::data
