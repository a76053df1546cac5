// CUDA form of ops/matmul.h; shapes are checked there.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

void measure_products(const Context& ctx);
std::vector<std::string> take_product_warnings(const Context& ctx);
void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias,
                    bool accumulate);
void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate);
void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate);
void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate);

// adapted_forward (without a bias) and adapted_backward_input of ops/adapter.h in one kernel. False, and
// nothing done, without the code for this GPU, or for sizes and addresses that its copy engine does not take
// (widths are multiples of 8, addresses of 16 bytes).
bool adapted_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, const Tensor& h,
                     const Tensor& b);
bool adapted_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                            const Tensor& dh, const Tensor& a);

// linear_swiglu_forward of ops/swiglu.h without a bias; h and b may be empty. False as above, or where I is
// no multiple of 128.
bool linear_swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up, bool keep,
                           const Tensor& x, const Tensor& w, const Tensor& h, const Tensor& b);

}  // namespace rlcpp::ops::cuda
