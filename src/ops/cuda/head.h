// CUDA form of ops/head.h; shapes are checked there.
#pragma once

#include "ops/cpu/head.h"

namespace rlcpp::ops::cuda {

void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& packed, const Tensor& temperatures);
void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits);

using cpu::HeadVisit;
void head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in);

void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors);

}  // namespace rlcpp::ops::cuda
