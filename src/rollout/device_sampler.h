// Drawing on a GPU: hidden states of the rows that sample, their logits and the draws stay there, and the
// host only sees ids and log-probabilities. Rows that are plain or greedy are drawn together; after them
// those whose distribution is shaped (truncated, with a penalty or without some ids), if a step has any.
#pragma once

#include <span>

#include "rollout/sampler.h"
#include "rollout/step_buffers.h"

namespace rlcpp::rollout {

struct DeviceSamplerRegions {
  RegionId hidden, logits;
  RegionId head_logits;  // in mode exact: of ops::head_logprobs
};
DeviceSamplerRegions plan_device_sampler(const ops::Context& ctx, const model::ModelConfig& model,
                                         std::int64_t max_rows, MemoryPlan& plan);

class DeviceSampler {
 public:
  DeviceSampler(const Arena& arena, const DeviceSamplerRegions& regions);

  // What a draw is on the device: its temperature (0: greedy; below: it is shaped), what its logits are
  // divided by, its number.
  static void fill(const Draw& draw, float& temperature, float& divisor, float& uniform);
  // Queues the draws of `rows` rows of hidden [T, H], into ids and logprobs [rows]. Can be captured into a
  // graph. In mode exact the log-probability of a row that is not shaped is the trainer's operation's.
  void queue(const ops::Context& ctx, const Tensor& hidden, const Tensor& head, const Tensor& packed,
             const StepViews& step, const Tensor& ids, const Tensor& logprobs) const;

 private:
  Tensor hidden_;       // [R, H] of the compute type
  Tensor logits_;       // [R, V] f32
  Tensor head_logits_;  // empty in mode fast
};

}  // namespace rlcpp::rollout
