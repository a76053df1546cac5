// CPU form of ops/head.h; shapes are checked there.
#pragma once

#include "ops/head.h"

namespace rlcpp::ops::cpu {

void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& packed, const Tensor& temperatures);
void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits);

// What one walk over the rows is asked for; absent parts are empty.
struct HeadVisit {
  Tensor logprobs;
  Tensor entropies;
  Tensor coefficients;  // with dhidden: the gradient is wanted
  Tensor dhidden;
  Tensor dw;
};
void head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in);

void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors);

}  // namespace rlcpp::ops::cpu
