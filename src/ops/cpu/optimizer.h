// CPU form of ops/optimizer.h; shapes are checked there.
#pragma once

#include "ops/optimizer.h"

namespace rlcpp::ops::cpu {

double sum_of_squares(const Context& ctx, std::span<const Tensor> all);
void scale(const Context& ctx, const Tensor& g, float factor);
void add(const Context& ctx, const Tensor& to, const Tensor& from);
bool all_finite(const Context& ctx, const Tensor& g);
void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step);
void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step);
void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step);

}  // namespace rlcpp::ops::cpu
