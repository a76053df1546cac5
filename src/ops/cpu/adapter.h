// CPU form of ops/adapter.h; shapes are checked there.
#pragma once

#include "ops/adapter.h"

namespace rlcpp::ops::cpu {

void adapter_expand(const Context& ctx, const Tensor& expanded, const Tensor& b, const AdapterBlocks& blocks,
                    float scale);
void adapter_collect(const Context& ctx, const Tensor& db, const Tensor& dexpanded,
                     const AdapterBlocks& blocks, float scale);
void dropout_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Dropout& dropout);
void dropout_backward(const Context& ctx, const Tensor& dx, const Tensor& dy, const Dropout& dropout);

}  // namespace rlcpp::ops::cpu
