// Optimizer updates over flat f32 parameters, and the global norm of gradients.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// Sum of squares of g (any shape, f32), accumulated in f64 over fixed blocks of 4096 elements that are added
// in order.
double sum_of_squares(const Context& ctx, const Tensor& g);

// g *= factor.
void scale(const Context& ctx, const Tensor& g, float factor);

// True if every element is finite.
bool all_finite(const Context& ctx, const Tensor& g);

struct AdamWStep {
  float lr = 0;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float eps = 1e-8F;
  float weight_decay = 0;
  std::int64_t step = 1;     // 1 for the first update: bias corrections 1 - beta^step
  float gradient_scale = 1;  // clip factor, applied to g on the fly
};

// Decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW: w -= lr * wd * w; m, v updated;
// then w -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps). All tensors of one size, f32.
void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step);

}  // namespace rlcpp::ops
