// CUDA form of ops/few_rows.h; operands are checked there.
#pragma once

#include "ops/few_rows.h"

namespace rlcpp::ops::cuda {

bool takes_few_rows(const Context& ctx, const FewRowsShape& shape);
void norm_linear_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain, float eps,
                     const Tensor& w, const Tensor& bias);
void norm_linear_swiglu_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain,
                            float eps, const Tensor& w, const Tensor& bias);
void linear_add_few(const Context& ctx, const Tensor& residual, const Tensor& x, const Tensor& w,
                    const Tensor& bias);
void attention_few(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                   const FewRowsAttention& how, const QkvShape& shape);

}  // namespace rlcpp::ops::cuda
