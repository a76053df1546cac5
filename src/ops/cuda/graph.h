// CUDA form of ops/graph.h.
#pragma once

#include <functional>
#include <memory>

#include "ops/graph.h"

namespace rlcpp::ops::cuda {

std::unique_ptr<CapturedGraph, CapturedGraphDeleter> capture(const Context& ctx,
                                                             const std::function<void()>& operations);
void launch(const CapturedGraph& graph);
void copy_in_order(const Context& ctx, const Tensor& to, const Tensor& from);

}  // namespace rlcpp::ops::cuda
