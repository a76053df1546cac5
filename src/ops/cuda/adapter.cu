#include <algorithm>

#include "ops/cuda/adapter.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/philox.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kThreads = 256;

// One target as the kernels see it: rows [row, row + count) of the product, rows from `from` of the stacked
// B.
struct Target {
  std::int64_t row, count, from;
};
struct Targets {
  Target target[AdapterBlocks::kMost];
  int count;
};

Targets targets_of(const AdapterBlocks& blocks) {
  Targets out{};
  out.count = static_cast<int>(blocks.targets);
  std::int64_t from = 0;
  for (std::size_t i = 0; i < blocks.targets; ++i) {
    out.target[i] = {blocks.block[i].row, blocks.block[i].count, from};
    from += blocks.block[i].count;
  }
  return out;
}

unsigned blocks_for(std::int64_t size) {
  return grid_of(std::min<std::int64_t>(ceil_div(size, kThreads), 4096));
}

// One thread an element of `expanded` [rows, targets * rank]: column c belongs to target c / rank.
__global__ void expand_kernel(bf16* expanded, const float* b, std::int64_t size, std::int64_t rank,
                              Targets targets, float scale) {
  const std::int64_t width = targets.count * rank;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += step) {
    const std::int64_t row = i / width, column = i % width;
    const Target t = targets.target[column / rank];
    const std::int64_t inside = row - t.row;
    const bool is_block = inside >= 0 && inside < t.count;
    expanded[i] = from_float<bf16>(is_block ? scale * b[(t.from + inside) * rank + column % rank] : 0.0F);
  }
}

// One thread an element of db [rows, rank].
__global__ void collect_kernel(float* db, const float* expanded, std::int64_t size, std::int64_t rank,
                               Targets targets, float scale) {
  const std::int64_t width = targets.count * rank;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += step) {
    const std::int64_t row = i / rank;
    int t = 0;
    while (t + 1 < targets.count && row >= targets.target[t + 1].from) ++t;
    const std::int64_t from = targets.target[t].row + row - targets.target[t].from;
    db[i] = scale * expanded[from * width + t * rank + i % rank];
  }
}

// One thread a Philox block: four elements. kAdd: to += where kept; else to = and 0 where dropped.
template <bool kAdd>
__global__ void dropout_kernel(bf16* to, const bf16* from, std::int64_t size, std::uint64_t key,
                               std::uint64_t stream, std::uint32_t threshold, float scale) {
  const std::int64_t blocks = (size + 3) / 4;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; block < blocks;
       block += step) {
    const Philox4 words = philox4x32(static_cast<std::uint64_t>(block), stream, key);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const std::int64_t i = 4 * block + k;
      if (i >= size) continue;
      const bool kept = words.word[k] >= threshold;
      const float value = kept ? scale * to_float(from[i]) : 0.0F;
      if constexpr (kAdd) {
        if (kept) to[i] = from_float<bf16>(to_float(to[i]) + value);
      } else {
        to[i] = from_float<bf16>(value);
      }
    }
  }
}

}  // namespace

void adapter_expand(const Context& ctx, const Tensor& expanded, const Tensor& b, const AdapterBlocks& blocks,
                    float scale) {
  expand_kernel<<<blocks_for(expanded.size()), kThreads, 0, stream_of(ctx)>>>(
      address<bf16>(expanded), address<const float>(b), expanded.size(), b.dim(1), targets_of(blocks), scale);
  check_launch("adapter_expand");
}

void adapter_collect(const Context& ctx, const Tensor& db, const Tensor& dexpanded,
                     const AdapterBlocks& blocks, float scale) {
  collect_kernel<<<blocks_for(db.size()), kThreads, 0, stream_of(ctx)>>>(
      address<float>(db), address<const float>(dexpanded), db.size(), db.dim(1), targets_of(blocks), scale);
  check_launch("adapter_collect");
}

void dropout_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Dropout& dropout) {
  dropout_kernel<false><<<blocks_for(ceil_div(y.size(), 4)), kThreads, 0, stream_of(ctx)>>>(
      address<bf16>(y), address<const bf16>(x), y.size(), dropout.key, dropout.stream, dropout.threshold(),
      dropout.kept_scale());
  check_launch("dropout_forward");
}

void dropout_backward(const Context& ctx, const Tensor& dx, const Tensor& dy, const Dropout& dropout) {
  dropout_kernel<true><<<blocks_for(ceil_div(dx.size(), 4)), kThreads, 0, stream_of(ctx)>>>(
      address<bf16>(dx), address<const bf16>(dy), dx.size(), dropout.key, dropout.stream, dropout.threshold(),
      dropout.kept_scale());
  check_launch("dropout_backward");
}

}  // namespace rlcpp::ops::cuda
