// The rollout engine: continuous batching over a paged cache. A token-budget scheduler without phases puts
// decode and prefill tokens of any requests into one forward; groups share the pages of their prompt.
//
// In exact mode a sequence's tokens and log-probabilities are a function of (weights, prompt, parameters,
// seed) alone: what else runs, page size, batch size, preemption, prefix hits and threads do not change a
// bit, and the log-probabilities are those of the trainer's forward over prompt and output.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "rollout/request.h"
#include "rollout/weight_change.h"

namespace rlcpp::rollout {

struct EngineConfig {
  std::int64_t max_sequences = 256;      // running at once
  std::int64_t max_batch_tokens = 2048;  // of one forward
  std::int64_t page_size = 16;           // tokens
  std::int64_t num_pages = 0;            // 0: enough for max_sequences of max_model_len
  std::int64_t max_model_len = 2048;     // prompt and output
  WeightChange on_new_weights = WeightChange::kRecompute;
  std::int64_t max_loras = 0;       // adapters that requests can choose, at once
  std::int64_t max_lora_rank = 16;  // of each
  // A forward is asked for before the draws of the one before it are here (engine_ahead.cpp); none: on a GPU.
  std::optional<bool> look_ahead = {};
};

struct EngineStats {
  std::int64_t prefill_tokens = 0;  // computed in chunks; includes tokens computed again
  std::int64_t decode_tokens = 0;   // computed one at a time
  std::int64_t cached_tokens = 0;   // not computed: prefix hits, and prompts shared by a group
  std::int64_t sampled_tokens = 0;
  std::int64_t forwards = 0, preemptions = 0;
  // Were running when weights changed: computed again, or went on from their pages.
  std::int64_t recomputed_sequences = 0, kept_sequences = 0;
  std::int64_t pages_used_peak = 0;
  double seconds = 0;                              // inside step()
  double forward_seconds = 0, sample_seconds = 0;  // of those: decoder; head and sampling
};

// Weights are shared with the trainer: publishing a policy is set_version() at a step boundary, not a copy.
// Not thread-safe: one thread calls everything.
class Engine {
 public:
  // Adds the cache, the scratch and the logits to `plan`; the engine is made when the arena exists. Throws
  // bad_input if a number of the config is out of range or does not fit the model.
  struct Regions;
  static std::shared_ptr<Regions> plan(const ops::Context& ctx, const model::ModelConfig& model,
                                       const EngineConfig& config, MemoryPlan& plan);
  // `config` is the one that was planned. rope covers max_model_len positions. token_bytes(id) gives the
  // bytes of a token, for stop strings; may be empty if none are used.
  Engine(const ops::Context& ctx, const model::ModelConfig& model, const EngineConfig& config,
         const Arena& arena, const std::shared_ptr<Regions>& regions, const model::WeightSet& weights,
         const model::WeightSet& packed, const model::RopeTables& rope,
         std::function<std::string(std::int32_t)> token_bytes);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Call it whenever the weights have changed, between steps: no page computed before is ever given to
  // another sequence, whatever the number. What has begun does what config.on_new_weights says; later tokens
  // carry the new version. With kDrain nothing that has begun is left: see ready_for_weights().
  void set_version(std::int64_t version);
  // Whoever overwrites the shared weights says so beforehand, steps until ready_for_weights(), overwrites
  // them and calls set_version(): a forward that was asked for ahead is done then. With kDrain no request
  // begins in between, and one is not ready until those that have begun are finished; else one is ready at
  // once.
  void hold_for_weights();
  bool ready_for_weights() const;
  std::int64_t version() const;

  // Adapters beside the weights. An adapter of that name is replaced in place, and what reads it does what
  // config.on_new_weights says; tokens carry the version of the weights all the same. Throws bad_input, and
  // the old one goes on serving, if the directory holds no adapter of this model (see stage_adapter), if
  // there is no place for one more, or, with kDrain, if requests that have begun still read it.
  void load_adapter(const std::string& name, const std::string& dir);
  // Throws bad_input if there is none of this name, or if requests that are here name it.
  void unload_adapter(const std::string& name);
  std::vector<std::string> adapters() const;

  // Throws bad_input if a field is out of range (see check_request), if there is no adapter of the request's
  // name, or if a group of this id is still here.
  void submit(GroupRequest request);
  // Its unfinished sequences end with kAborted and what they have; the next step() returns them. Unknown ids
  // are ignored.
  void abort(std::int64_t group_id);
  // Nothing runs, waits or is still to be returned.
  bool idle() const;
  // Waits for one forward, and with look_ahead asks for the next. Returns the sequences that finished, in the
  // order of the batch. After an exception the engine is of no further use.
  std::vector<SampledSequence> step();
  // Runs until idle, or until a hold leaves nothing to do.
  std::vector<SampledSequence> run();

  // The output so far of the unfinished sequences of a group, in the order of their samples: for showing text
  // as it is made. Empty for an unknown group. Valid until the next call.
  std::vector<std::span<const std::int32_t>> outputs(std::int64_t group_id) const;

  const EngineStats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::rollout
