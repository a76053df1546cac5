#include "ops/cpu/optimizer.h"

#include <atomic>
#include <cmath>
#include <cstring>

#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kSumBlock = 4096;
constexpr std::int64_t kOptimizerBlock = 16384;

}  // namespace

namespace {

double sum_of_squares_of(const Context& ctx, const Tensor& g) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t n = g.size();
  const std::int64_t blocks = blocks_of(n, kSumBlock);
  // Sums of blocks are doubles kept in a scratch of floats.
  float* partial = thread_scratch(Scratch::kReduction, 2 * blocks);
  parallel_blocks(ctx, n, kSumBlock, static_cast<double>(n), [&](std::int64_t begin, std::int64_t count) {
    const double sum = kernels.sum_of_squares(g.f32() + begin, count);
    std::memcpy(partial + begin / kSumBlock * 2, &sum, sizeof sum);
  });
  double total = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    double sum = 0;
    std::memcpy(&sum, partial + 2 * b, sizeof sum);
    total += sum;
  }
  return total;
}

}  // namespace

double sum_of_squares(const Context& ctx, std::span<const Tensor> all) {
  double total = 0;
  for (const Tensor& g : all) total += sum_of_squares_of(ctx, g);
  return total;
}

void scale(const Context& ctx, const Tensor& g, float factor) {
  const Kernels& kernels = kernels_of(ctx);
  parallel_blocks(
      ctx, g.size(), kOptimizerBlock, static_cast<double>(g.size()),
      [&](std::int64_t begin, std::int64_t count) { kernels.scale(g.f32() + begin, count, factor); });
}

void add(const Context& ctx, const Tensor& to, const Tensor& from) {
  parallel_blocks(ctx, to.size(), kOptimizerBlock, static_cast<double>(to.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    float* sums = to.f32() + begin;
                    const float* terms = from.f32() + begin;
                    for (std::int64_t i = 0; i < count; ++i) sums[i] += terms[i];
                  });
}

bool all_finite(const Context& ctx, const Tensor& g) {
  const Kernels& kernels = kernels_of(ctx);
  std::atomic<bool> finite = true;
  parallel_blocks(ctx, g.size(), kOptimizerBlock, static_cast<double>(g.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    if (!kernels.all_finite(g.f32() + begin, count))
                      finite.store(false, std::memory_order_relaxed);
                  });
  return finite.load();
}

void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step) {
  const Kernels& kernels = kernels_of(ctx);
  const auto t = static_cast<double>(step.step);
  AdamWConstants constants;
  constants.decay = static_cast<float>(1.0 - step.lr * step.weight_decay);
  constants.beta1_weight = static_cast<float>(1.0 - step.beta1);
  constants.beta2 = static_cast<float>(step.beta2);
  constants.beta2_weight = static_cast<float>(1.0 - step.beta2);
  constants.step_size = static_cast<float>(step.lr / (1.0 - std::pow(step.beta1, t)));
  constants.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, t)));
  constants.eps = static_cast<float>(step.eps);
  constants.gradient_scale = step.gradient_scale;
  const auto work = 8.0 * static_cast<double>(w.size());
  parallel_blocks(ctx, w.size(), kOptimizerBlock, work, [&](std::int64_t begin, std::int64_t count) {
    kernels.adamw(w.f32() + begin, m.f32() + begin, v.f32() + begin, g.f32() + begin, count, constants);
  });
}

}  // namespace rlcpp::ops::cpu
