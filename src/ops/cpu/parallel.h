// Splitting an operation's work over the context's threads.
#pragma once

#include <cstdint>
#include <functional>

#include "ops/context.h"
#include "ops/cpu/kernels.h"

namespace rlcpp::ops::cpu {

inline const Kernels& kernels_of(const Context& ctx) {
  return ctx.kernels != nullptr ? *ctx.kernels : best_kernels();
}

// Below this many elementary steps (vector lanes of work) waking the other threads costs more than they save.
inline constexpr double kWorthThreads = 400e3;

// Runs task(i) for i in [0, count); `work` is the cost of all of it, about one a multiply-add. Results must
// not depend on who runs a task: each owns its outputs.
template <class Task>
void parallel(const Context& ctx, std::int64_t count, double work, const Task& task) {
  if (count <= 1 || ctx.pool == nullptr || ctx.pool->size() == 1 || work < kWorthThreads) {
    for (std::int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  ctx.pool->parallel_for(count, std::cref(task));  // a reference: std::function then allocates nothing
}

inline std::int64_t blocks_of(std::int64_t n, std::int64_t block) {
  return (n + block - 1) / block;
}

// Runs task(begin, count) over blocks of `block` out of n.
template <class Task>
void parallel_blocks(const Context& ctx, std::int64_t n, std::int64_t block, double work, const Task& task) {
  parallel(ctx, blocks_of(n, block), work, [&](std::int64_t b) {
    const std::int64_t begin = b * block;
    task(begin, n - begin < block ? n - begin : block);
  });
}

}  // namespace rlcpp::ops::cpu
