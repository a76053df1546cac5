// SGD and sign-SGD: a few operations an element, each rounded by itself, so the bits are those of CUDA
// (ops/cuda/optimizer_sgd.cu) whatever the instruction set.
#include "ops/cpu/optimizer.h"
#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kSgdBlock = 16384;

}  // namespace

void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step) {
  const auto lr = static_cast<float>(step.lr), momentum = static_cast<float>(step.momentum);
  const auto decay = static_cast<float>(step.weight_decay);
  const auto work = 3.0 * static_cast<double>(w.size());
  parallel_blocks(ctx, w.size(), kSgdBlock, work, [&](std::int64_t begin, std::int64_t count) {
    float* weights = w.f32() + begin;
    const float* gradients = g.f32() + begin;
    float* moments = m.empty() ? nullptr : m.f32() + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      float direction = gradients[i] * step.gradient_scale;
      direction = direction + decay * weights[i];
      if (moments != nullptr) {
        const float moment = momentum * moments[i] + direction;
        moments[i] = moment;
        direction = step.nesterov ? direction + momentum * moment : moment;
      }
      weights[i] = weights[i] - lr * direction;
    }
  });
}

void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step) {
  const auto lr = static_cast<float>(step.lr);
  const auto keep = static_cast<float>(1.0 - step.lr * step.weight_decay);
  const auto work = 2.0 * static_cast<double>(w.size());
  parallel_blocks(ctx, w.size(), kSgdBlock, work, [&](std::int64_t begin, std::int64_t count) {
    float* weights = w.f32() + begin;
    const float* gradients = g.f32() + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      const float sign = static_cast<float>(gradients[i] > 0) - static_cast<float>(gradients[i] < 0);
      weights[i] = weights[i] * keep - lr * sign;
    }
  });
}

}  // namespace rlcpp::ops::cpu
