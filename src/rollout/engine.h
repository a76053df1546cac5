// The rollout engine: continuous batching over a paged cache. A token-budget scheduler without phases puts decode and
// prefill tokens of any requests into one forward; groups share the pages of their prompt.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/decoder.h"
#include "rollout/request.h"

namespace rlcpp::rollout {

struct EngineConfig {
  std::int64_t max_sequences = 256;      // running at once
  std::int64_t max_batch_tokens = 2048;  // of one forward
  std::int64_t page_size = 16;           // tokens
  std::int64_t num_pages = 0;            // 0: enough for max_sequences of max_model_len
  std::int64_t max_model_len = 2048;     // prompt and output
};

struct EngineStats {
  std::int64_t prefill_tokens = 0, decode_tokens = 0, cached_tokens = 0, forwards = 0, preemptions = 0;
  std::int64_t pages_used_peak = 0;
  double seconds = 0;
};

// Weights are shared with the trainer: publishing a policy is set_version() at a step boundary, not a copy. Pages of
// an older version are never reused.
class Engine {
 public:
  // Adds the cache, the scratch and the logits to `plan`; the engine is made when the arena exists.
  struct Regions;
  static std::shared_ptr<Regions> plan(const ops::Context& ctx, const model::ModelConfig& model, const EngineConfig& config,
                                       MemoryPlan& plan);
  // token_bytes(id) gives the bytes of a token, for stop strings; may be empty if none are used.
  Engine(const ops::Context& ctx, const model::ModelConfig& model, const EngineConfig& config, const Arena& arena,
         const std::shared_ptr<Regions>& regions, const model::WeightSet& weights, const model::WeightSet& packed,
         const model::RopeTables& rope, std::function<std::string(std::int32_t)> token_bytes);
  ~Engine();

  void set_version(std::int64_t version);
  std::int64_t version() const;

  // Throws bad_input if prompt + 1 > max_model_len, a token is outside the vocabulary, or a parameter is out of range.
  void submit(GroupRequest request);
  void abort(std::int64_t group_id);
  bool idle() const;
  // One forward. Returns the sequences that finished in it.
  std::vector<SampledSequence> step();
  // Runs until idle.
  std::vector<SampledSequence> run();

  const EngineStats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::rollout
