// The training step: accumulate over micro-batches with one global token normalisation, check, clip,
// optimizer, schedule. It does not know where a batch came from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config/schema.h"
#include "base/error.h"
#include "data/batch.h"
#include "model/decoder.h"
#include "monitor/metrics.h"
#include "train/loss/loss.h"
#include "train/sharded_weights.h"
#include "train/trained.h"

namespace rlcpp::dist {
class Communicator;
}

namespace rlcpp::train {

struct OptimConfig {
  std::string type = "adamw";       // adamw | sgd | sign_sgd | muon
  std::string moments = "float32";  // float32 | bfloat16
  double lr = 1e-6, weight_decay = 0.01;
  std::optional<double> max_norm = 1.0;
  std::optional<double> skip_norm;
  double betas1 = 0.9, betas2 = 0.999, eps = 1e-8;
  double momentum = 0.9;  // sgd
  double mu = 0.95;       // muon: momentum of matrices; betas and eps are of AdamW for the rest
  bool nesterov = true;   // sgd
  void describe(config::Schema& s);
  void validate() const;  // throws bad_input
};

struct SchedulerConfig {
  std::string type = "constant";  // constant | linear | cosine
  std::int64_t warmup_steps = 10, decay_steps = 10;
  double min_lr = 0;
  void describe(config::Schema& s);
};

// Learning rate of update `step` (0-based) of `max_steps` (-1: none), with the reference's shapes (prime-rl
// scheduler.py).
double learning_rate(const SchedulerConfig& config, double peak, std::int64_t step, std::int64_t max_steps);

struct TrainerOptions {
  OptimConfig optim;
  SchedulerConfig scheduler;
  LossConfig loss;
  std::int64_t max_steps = -1;
  std::int64_t max_tokens = 0;             // of one micro-batch: seq_len
  std::optional<std::int64_t> head_chunk;  // rows of logits at once; see plan_scratch
  model::Recompute recompute = model::Recompute::kNone;
  bool fp8 = false;                       // products of blocks (model/fp8.h)
  bool any_order = false;                 // sums may be made in any order, so that a run need not repeat
  std::int64_t inflight_activations = 5;  // offload: block inputs on the device at once
  // Moments, and masters if the caller plans them there, rest in the host's memory (train/state_stream.h),
  // and so many of their elements are under way at a time.
  bool optimizer_on_host = false;
  std::int64_t optimizer_chunk = std::int64_t{4} << 20;
  Sharding sharding;                     // which rank this is; one of one by default
  std::int64_t max_nonfinite_steps = 3;  // skipped steps in a row before the run stops
  std::uint64_t seed = 0;                // of the dropout before adapters
  std::string dump_dir;                  // where a batch with a NaN or Inf is written; empty: nowhere
  // Called after each micro-batch of step() with how many are done, of how many; may be empty.
  std::function<void(std::int64_t, std::int64_t)> on_micro_batch;
  // Called before the optimizer changes anything: a checkpoint writer that still reads it waits here. May be
  // empty.
  std::function<void()> before_update;
};

struct StepResult {
  monitor::Metrics metrics;  // loss/mean, optim/lr, optim/grad_norm, entropy/..., mismatch_kl/...
  double loss = 0, grad_norm = 0, lr = 0;
  double max_abs_mismatch = 0;
  std::optional<Mismatch> first_mismatch;  // see LossMetrics
  bool skipped = false;                    // non-finite: no update was made
  std::optional<Error> stop;  // max_nonfinite_steps skipped steps in a row: save, then throw this
  std::int64_t tokens = 0, loss_tokens = 0, documents = 0;  // of the step
};

// The other ranks of a run, for a trainer that is one of several.
struct Peers {
  dist::Communicator* communicator = nullptr;  // outlives the trainer
  // The model's memory if it is cut into shards; with adapters every rank holds the whole base and all of
  // them.
  ShardedWeights sharded;
};

// Owns nothing large: weights, gradients and moments are views into the run's arena. `weights` are what the
// decoder reads, in ops::Context::compute_type(); `masters` the same in f32, which the optimizer changes and
// checkpoints hold. Where the decoder reads f32, they are one, and `masters` is empty.
// A model with adapters (ModelConfig::adapters) is frozen but for them: `weights` has only the base in the
// compute type and the adapters as the decoder reads them, `masters` the same base and the adapters' f32
// masters; there are no gradients, moments or f32 masters of the base.
// One of several ranks (TrainerOptions::sharding) is given the whole step's batches, as all of them are, does
// its share, and returns the same result as all of them: every call below that is given batches, and
// repack(), is collective. The weights and masters are then those of Peers::sharded, or, with adapters, as
// above.
class Trainer {
 public:
  struct Regions;
  // Adds gradients, moments, activations, logits and batch buffers to the plan. Weights are planned by the
  // caller, who may share them with an engine.
  static std::shared_ptr<Regions> plan(const ops::Context& ctx, const model::ModelConfig& model,
                                       const TrainerOptions& options, MemoryPlan& plan);
  Trainer(const ops::Context& ctx, const model::ModelConfig& model, const TrainerOptions& options,
          const Arena& arena, const std::shared_ptr<Regions>& regions, const model::WeightSet& weights,
          const model::WeightSet& packed, const model::RopeTables& rope, const model::WeightSet& masters = {},
          const Peers& peers = {});
  ~Trainer();

  // One optimizer step over the micro-batches; weights and their packed forms change in place.
  StepResult step(const std::vector<data::MicroBatch>& batches);

  // Loss without an update: mean over loss tokens.
  double evaluate(const std::vector<data::MicroBatch>& batches);
  // Log-probability of each token given those before it (0 at document starts), as the loss sees them.
  std::vector<float> logprobs(const data::MicroBatch& batch);
  // Seconds that the device takes for the forward of this rank's share of rows of RL as step() makes it:
  // decoder, and the head's log-probabilities and entropies. Nothing that step() reads changes.
  double forward_seconds(const std::vector<data::MicroBatch>& batches);

  std::int64_t steps_done() const;
  // Returns when the device has done all that was asked of it: masters and moments are those after the step.
  void synchronize() const;
  Device device() const;
  // Makes the decoder's copies and the packed forms anew after the masters were changed from outside (a
  // restore).
  void repack();
  // The masters; with adapters the base and their masters. Of one of several ranks that holds shards of the
  // masters alone: what the decoder reads, at levels 1 and 2.
  const model::WeightSet& weights() const;
  // What the decoder reads. At level 3 the layers share buffers, so they are never there at once.
  const model::WeightSet& decoder_weights() const;
  const model::ModelConfig& model() const;
  const OptimConfig& optim() const;
  // What the optimizer changes, with its gradients (of the last step, before clipping) and moments.
  const std::vector<TrainedParameter>& trained() const;
  // Everything a bit-equal continuation needs besides trained(): step and skip counters.
  struct State {
    std::int64_t step = 0;       // steps taken, skipped ones included: the schedule runs on it
    std::int64_t updates = 0;    // updates made: the optimizer's bias correction runs on it
    std::int64_t nonfinite = 0;  // skipped steps in a row
    std::int64_t skipped = 0;    // skipped steps in all
  };
  State state() const;
  void set_state(const State& state);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rlcpp::train
