#include "rollout/device_sampler.h"

#include <algorithm>

#include "base/error.h"
#include "ops/embedding.h"
#include "ops/head.h"
#include "rollout/shaped_draws.h"

namespace rlcpp::rollout {

DeviceSamplerRegions plan_device_sampler(const ops::Context& ctx, const model::ModelConfig& model,
                                         std::int64_t max_rows, MemoryPlan& plan) {
  DeviceSamplerRegions regions;
  regions.hidden = plan.add(MemoryUse::kWorkspace, "engine.sampled_hidden", ctx.compute_type(),
                            {max_rows, model.hidden_size});
  regions.logits = plan.add(MemoryUse::kLogits, "engine.logits", DType::kF32, {max_rows, model.vocab_size});
  if (ctx.mode == ops::NumericMode::kExact) {
    // With room for the sums of a row beside its logits even where the vocabulary is tiny, so that the head
    // takes the same way as the trainer's.
    constexpr std::int64_t kHeadRows = 128, kRoom = 1 << 16;
    const std::int64_t least = (kRoom + 8 * model.hidden_size) / model.vocab_size + 1;
    regions.head_logits = plan.add(MemoryUse::kLogits, "engine.head_logits", DType::kF32,
                                   {std::max(std::min(max_rows, kHeadRows), least), model.vocab_size});
  }
  return regions;
}

DeviceSampler::DeviceSampler(const Arena& arena, const DeviceSamplerRegions& regions)
    : hidden_(arena[regions.hidden]), logits_(arena[regions.logits]) {
  if (regions.head_logits.index >= 0) head_logits_ = arena[regions.head_logits];
}

void DeviceSampler::fill(const Draw& draw, float& temperature, float& divisor, float& uniform) {
  temperature = is_shaped(draw) ? -1.0F : std::max(draw.request->sampling.temperature, 0.0F);
  divisor = temperature > 0 ? temperature : 1.0F;
  uniform = ops::draw_uniform(draw.seed, draw.index);
}

void DeviceSampler::queue(const ops::Context& ctx, const Tensor& hidden, const Tensor& head,
                          const Tensor& packed, const StepViews& step, const Tensor& ids,
                          const Tensor& logprobs) const {
  const std::int64_t rows = step.device_sample_rows.dim(0);
  if (rows == 0) return;
  const Tensor sampled = hidden_.rows(0, rows), logits = logits_.rows(0, rows);
  ops::embedding_forward(ctx, sampled, hidden, step.device_sample_rows);  // a table lookup, of hidden states
  ops::head_logits(ctx, logits, sampled, head, packed, Tensor());
  ops::sample_rows(ctx, ids, logprobs, logits, step.device_temperatures, step.device_uniforms);
  if (!head_logits_.empty()) {
    ops::HeadInputs in;
    in.hidden = sampled;
    in.w = head;
    in.packed = packed;
    in.targets = ids;
    in.temperatures = step.device_divisors;
    in.logits = head_logits_;
    ops::head_logprobs(ctx, logprobs, Tensor(), in);
  }
  if (!step.device_shaped.empty()) ops::sample_shaped_rows(ctx, ids, logprobs, logits, step.device_shaped);
}

}  // namespace rlcpp::rollout
