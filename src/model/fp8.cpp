#include "model/fp8.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "ops/cast.h"
#include "ops/fp8.h"

namespace rlcpp::model {
namespace {

enum Operand : std::int64_t { kInput, kWeight, kGradient, kOperands };
constexpr std::int64_t kProducts = 4;

// Outputs and inputs of a block's products.
struct Size {
  std::int64_t n, k;
};
std::array<Size, kProducts> sizes_of(const ModelConfig& c) {
  const std::int64_t h = c.hidden_size, attn = c.num_heads * c.head_dim, inner = c.intermediate_size;
  return {{{c.qkv().width(), h}, {h, attn}, {2 * inner, h}, {h, inner}}};
}

// The library wants scales at multiples of 16 bytes.
constexpr std::int64_t kScaleStep = 16 / static_cast<std::int64_t>(sizeof(float));

// The largest value and the scale of one operand of one product of one layer.
struct Scale {
  Tensor largest, scale;
};
Scale scale_of(const BlockContext& block, AdapterPlace place, Operand operand) {
  const auto layer = static_cast<std::int64_t>(block.layer),
             product = static_cast<std::int64_t>(index_of(place));
  const std::int64_t at = (layer * kProducts + product) * kOperands + operand;
  return {block.fp8->largest.rows(at, 1), block.fp8->scale.rows(at * kScaleStep, 1)};
}

// q and qt (empty: not wanted) of x, whose largest value is found first unless it is known.
Scale quantized(const BlockContext& block, AdapterPlace place, Operand operand, const Tensor& q,
                const Tensor& qt, const Tensor& x, bool known) {
  const Scale own = scale_of(block, place, operand);
  if (!known) ops::fp8_largest(block.ctx, own.largest, x);
  ops::fp8_quantize(block.ctx, q, qt, own.scale, x, own.largest);
  return own;
}

}  // namespace

void require_fp8(const ops::Context& ctx, const ModelConfig& config) {
  if (ctx.on_gpu() && ctx.mode == ops::NumericMode::kExact) {
    throw bad_input("model.quantization is fp8 and numeric_mode is exact",
                    "in mode exact trainer and engine compute the same bits, and the engine has no FP8",
                    "set numeric_mode to fast, or remove model.quantization");
  }
  if (!ops::has_fp8(ctx)) {
    throw bad_input("model.quantization is fp8, which this GPU has no instructions for",
                    "FP8 needs compute capability 8.9 (Ada, Hopper or later)", "remove model.quantization");
  }
  for (const Size& size : sizes_of(config)) {
    if (size.n % ops::kFp8Step == 0 && size.k % ops::kFp8Step == 0) continue;
    throw bad_input(
        fmt::format("model.quantization is fp8, and the model has a weight of {} x {}", size.n, size.k),
        fmt::format("FP8 products need sizes that are multiples of {}", ops::kFp8Step),
        "remove model.quantization");
  }
}

Fp8Regions plan_fp8(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens) {
  std::int64_t widest_input = 0, widest_output = 0, weight = 0;
  for (const Size& size : sizes_of(config)) {
    widest_input = std::max(widest_input, size.k);
    widest_output = std::max(widest_output, size.n);
    weight = std::max(weight, size.n * size.k);
  }
  const std::int64_t tokens = ops::fp8_padded(max_tokens);
  const auto add = [&](const char* name, DType type, std::int64_t size) {
    return plan.add(MemoryUse::kActivations, name, type, {size});
  };
  const std::int64_t scales = config.num_layers * kProducts * kOperands;
  Fp8Regions r;
  r.input = add("fp8 input", DType::kU8, tokens * widest_input);
  r.gradient = add("fp8 gradient", DType::kU8, tokens * widest_output);
  // Frozen weights have no gradient that is summed over tokens.
  if (!config.adapters.any())
    r.gradient_t = add("fp8 gradient transposed", DType::kU8, tokens * widest_output);
  r.weight = add("fp8 weight", DType::kU8, weight);
  r.largest = add("fp8 largest values", DType::kF32, scales);
  r.scale = add("fp8 scales", DType::kF32, scales * kScaleStep);
  return r;
}

Fp8Memory make_fp8(const Arena& arena, const Fp8Regions& r) {
  if (r.input.index < 0) return {};
  return {arena[r.input],  arena[r.gradient], r.gradient_t.index < 0 ? Tensor() : arena[r.gradient_t],
          arena[r.weight], arena[r.largest],  arena[r.scale]};
}

void forget_scales(const ops::Context& ctx, const Fp8Memory& memory) {
  ops::zero(ctx, memory.largest);
}

void fp8_forward(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                 const Tensor& w, const Tensor& bias) {
  const Fp8Memory& memory = *block.fp8;
  const Tensor qx = columns(memory.input, x.dim(0), x.dim(1)),
               qw = columns(memory.weight, w.dim(0), w.dim(1));
  const Scale sx = quantized(block, place, kInput, qx, {}, x, block.again);
  const Scale sw = quantized(block, place, kWeight, qw, {}, w, block.again);
  ops::fp8_product(block.ctx, y, qx, sx.scale, qw, sw.scale, bias, false, ops::Fp8Sums::kQuick);
}

void fp8_backward_weight(const BlockContext& block, AdapterPlace place, const Tensor& dw, const Tensor& dy,
                         const Tensor& x) {
  const Fp8Memory& memory = *block.fp8;
  const std::int64_t tokens = dy.dim(0), padded = ops::fp8_padded(tokens);
  const Tensor q = columns(memory.gradient, tokens, dy.dim(1));
  const Tensor qt = dw.empty() ? Tensor() : columns(memory.gradient_t, dy.dim(1), padded);
  const Scale sy = quantized(block, place, kGradient, q, qt, dy, false);
  if (dw.empty()) return;
  const Tensor xt = columns(memory.input, x.dim(1), padded);
  const Scale sx = quantized(block, place, kInput, {}, xt, x, true);
  ops::fp8_product(block.ctx, dw, qt, sy.scale, xt, sx.scale, {}, true, ops::Fp8Sums::kCareful);
}

void fp8_backward_input(const BlockContext& block, AdapterPlace place, const Tensor& dx, const Tensor& dy,
                        const Tensor& w) {
  const Fp8Memory& memory = *block.fp8;
  const Tensor q = columns(memory.gradient, dy.dim(0), dy.dim(1));
  const Tensor wt = columns(memory.weight, w.dim(1), w.dim(0));
  const Scale sw = quantized(block, place, kWeight, {}, wt, w, true);
  ops::fp8_product(block.ctx, dx, q, scale_of(block, place, kGradient).scale, wt, sw.scale, {}, false,
                   ops::Fp8Sums::kCareful);
}

}  // namespace rlcpp::model
