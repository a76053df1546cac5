// Random tiny models, an engine around them in a poisoned arena, and two oracles that know nothing of pages:
// the trainer's forward over a whole text, and an engine of five lines that calls it once a token.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "rollout/engine.h"
#include "support.h"

namespace rlcpp::rollout {

enum class TinyKind { kQwen3, kQwen2, kLlama };
model::ModelConfig tiny_config(TinyKind kind, Rng& rng);

// What an answer is compared by: every bit.
struct Answer {
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;
  FinishReason finish = FinishReason::kStop;
};
// Fails the test unless all bits are equal.
void expect_same(const Answer& got, const Answer& expected, const std::string& where);
Answer answer_of(const SampledSequence& sequence);

class TinyModel {
 public:
  explicit TinyModel(const model::ModelConfig& config, std::uint64_t seed, int threads = 1);

  // New random weights, norms and biases included.
  void randomise(std::uint64_t seed);

  // The trainer's log-probabilities of `output` after `prompt`: model::forward and ops::head_logprobs.
  std::vector<float> trainer_logprobs(const std::vector<std::int32_t>& prompt,
                                      const std::vector<std::int32_t>& output, float temperature);
  // Sample `sample` of the request, one forward over the whole text for each token.
  Answer naive(const GroupRequest& request, std::int32_t sample, std::int64_t max_model_len);

  model::ModelConfig config;
  ThreadPool pool;
  ops::Context ctx;
  model::WeightSet weights, packed;
  model::RopeTables rope;

 private:
  Tensor forward(const std::vector<std::int32_t>& text);

  std::unique_ptr<Arena> arena_;
  std::unique_ptr<model::Activations> activations_;
  Tensor ids_, positions_, cu_seqlens_, targets_, temperatures_, logprobs_, logits_, lse_;
};

// Bytes of a token for stop strings: one to three of 'a' and 'b'.
std::string tiny_bytes(std::int32_t id);

struct TinyEngine {
  // `threads` of its own.
  TinyEngine(const TinyModel& model, const EngineConfig& config, int threads = 1);
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<Engine> engine;
};

GroupRequest random_request(const model::ModelConfig& config, std::int64_t max_model_len, std::int64_t id,
                            Rng& rng);

}  // namespace rlcpp::rollout
