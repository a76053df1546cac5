// Optimizer updates over flat f32 parameters, and the global norm of gradients.
#pragma once

#include <span>

#include "ops/context.h"

namespace rlcpp::ops {

// Sum of squares of all tensors (any shapes, f32), in f64: fixed blocks of 4096 elements of each tensor,
// added in order. Waits for the device once.
double sum_of_squares(const Context& ctx, std::span<const Tensor> all);
inline double sum_of_squares(const Context& ctx, const Tensor& g) {
  return sum_of_squares(ctx, std::span<const Tensor>(&g, 1));
}

// g *= factor.
void scale(const Context& ctx, const Tensor& g, float factor);

// to += from, both f32 and of one size.
void add(const Context& ctx, const Tensor& to, const Tensor& from);

// True if every element is finite.
bool all_finite(const Context& ctx, const Tensor& g);

// Constants are doubles, as in torch: 1 - beta2 of a float beta2 would be off by 1e-5 of itself.
struct AdamWStep {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  std::int64_t step = 1;     // 1 for the first update: bias corrections 1 - beta^step
  float gradient_scale = 1;  // clip factor, applied to g on the fly
  // For moments kept in bf16 (CUDA): they are rounded stochastically, by draws that are a pure function of
  // this number and the element's place (Philox), so that small changes are kept in the mean.
  std::uint64_t rounding_seed = 0;
  // Place of element 0 in its parameter, a multiple of 4: a parameter may be updated in parts.
  std::int64_t first_element = 0;
};

// Decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW: w -= lr * wd * w; m, v updated;
// then w -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps). All tensors of one size, f32; on CUDA
// m and v may both be bf16. `working`: the copy of w in the type that operations read, rounded to nearest;
// empty where they read w itself.
void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step, const Tensor& working = {});

struct SgdStep {
  double lr = 0;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;   // coupled: a part of the gradient
  float gradient_scale = 1;  // clip factor, applied to g on the fly
};

// As torch.optim.SGD without dampening: d = scale * g + wd * w; with momentum m = momentum * m + d, and d
// becomes m, or d + momentum * m for Nesterov's; w -= lr * d. `m` is empty without momentum; `working` as for
// adamw.
void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step,
         const Tensor& working = {});

struct SignStep {
  double lr = 0;
  double weight_decay = 0;  // decoupled
};

// w = w * (1 - lr * wd) - lr * sign(g), sign(0) = 0 (Bernstein et al. 2018, signSGD; prime-rl's sign_sgd).
void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step,
              const Tensor& working = {});

}  // namespace rlcpp::ops
