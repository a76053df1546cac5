// Sum of squares, scaling and the search for values that are not finite, over flat f32 tensors. All walk over
// blocks of 4096 elements.
#include <algorithm>

#include "ops/cuda/launch.cuh"
#include "ops/cuda/optimizer.h"
#include "ops/cuda/optimizer_cuda.h"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr std::int64_t kSumBlock = 4096;
constexpr int kFlatThreads = 256;
constexpr int kFlatQuads = static_cast<int>(kSumBlock) / (4 * kFlatThreads);  // of a thread in a block
constexpr int kTableTensors = 64;                                             // of one launch
constexpr int kTotalThreads = 1024;

struct FlatQuad {
  float value[4];
};

// Quad `place` of a block of `count` elements at p, zeros beyond the end. `aligned` is the same for the whole
// block.
__device__ FlatQuad load_flat(const float* p, int place, std::int64_t count, bool aligned) {
  if (aligned && 4 * place + 4 <= count) {
    const float4 four = *reinterpret_cast<const float4*>(p + 4 * place);
    return {{four.x, four.y, four.z, four.w}};
  }
  FlatQuad q = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (4 * place + k < count) q.value[k] = p[4 * place + k];
  }
  return q;
}

// Pieces of tensors, one after the other: piece i has the blocks [first_block[i], first_block[i + 1]).
struct SumTable {
  const float* data[kTableTensors];
  std::int64_t size[kTableTensors];
  std::int32_t first_block[kTableTensors + 1];
  std::int32_t pieces;
};

// partials[b] = sum of squares of block b, in f64. A product of two floats is exact there.
__global__ void __launch_bounds__(kFlatThreads)
    sum_blocks_kernel(double* partials, const __grid_constant__ SumTable table) {
  const auto block = static_cast<std::int32_t>(blockIdx.x);
  int low = 0;  // the last piece that begins at or before this block
  int high = table.pieces - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.first_block[middle] <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const std::int64_t begin = (block - table.first_block[low]) * kSumBlock;
  const float* from = table.data[low] + begin;
  const std::int64_t count = min(kSumBlock, table.size[low] - begin);
  const bool aligned = reinterpret_cast<std::uintptr_t>(from) % 16 == 0;
  FlatQuad quads[kFlatQuads];
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i)
    quads[i] = load_flat(from, i * kFlatThreads + static_cast<int>(threadIdx.x), count, aligned);
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const double value = quads[i].value[k];
      sum += value * value;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[block] = sum;
}

// total (+)= sum of partials. One block; a thread adds every 1024th in order.
__global__ void __launch_bounds__(kTotalThreads)
    add_partials_kernel(double* total, const double* partials, int count, bool accumulate) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kTotalThreads) sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = accumulate ? *total + sum : sum;
}

// Queues the sums of blocks, and adds them up whenever the partials are full.
class BlockSums {
 public:
  BlockSums(cudaStream_t stream, const OptimizerScratch& scratch) : stream_(stream), scratch_(scratch) {}

  void add(const float* data, std::int64_t size) {
    while (size > 0) {
      const std::int64_t free = kSumPartials - partials_ - blocks();
      const std::int64_t taken = std::min(size, free * kSumBlock);
      table_.data[table_.pieces] = data;
      table_.size[table_.pieces] = taken;
      const std::int64_t end = blocks() + ceil_div(taken, kSumBlock);
      table_.first_block[++table_.pieces] = static_cast<std::int32_t>(end);
      data += taken;
      size -= taken;
      if (partials_ + blocks() == kSumPartials) {
        total();
      } else if (table_.pieces == kTableTensors) {
        launch();
      }
    }
  }

  // After it scratch.total holds the sum of everything so far.
  void total() {
    launch();
    if (partials_ == 0 && any_) return;
    add_partials_kernel<<<1, kTotalThreads, 0, stream_>>>(scratch_.total, scratch_.partials,
                                                          static_cast<int>(partials_), any_);
    check_launch("sum_of_squares");
    partials_ = 0;
    any_ = true;
  }

 private:
  std::int64_t blocks() const { return table_.first_block[table_.pieces]; }

  void launch() {
    if (table_.pieces == 0) return;
    sum_blocks_kernel<<<grid_of(blocks()), kFlatThreads, 0, stream_>>>(scratch_.partials + partials_, table_);
    check_launch("sum_of_squares");
    partials_ += blocks();
    table_ = SumTable{};
  }

  cudaStream_t stream_;
  OptimizerScratch scratch_;
  SumTable table_ = {};
  std::int64_t partials_ = 0;  // computed or queued, not yet in the total
  bool any_ = false;           // the total holds something
};

__global__ void __launch_bounds__(kFlatThreads)
    add_kernel(float* __restrict__ to, const float* __restrict__ from, std::int64_t size) {
  const std::int64_t begin = blockIdx.x * kSumBlock;
  const std::int64_t count = min(kSumBlock, size - begin);
  const bool aligned =
      (reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % 16 == 0;
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i) {
    const int place = i * kFlatThreads + static_cast<int>(threadIdx.x);
    const FlatQuad a = load_flat(to + begin, place, count, aligned);
    const FlatQuad b = load_flat(from + begin, place, count, aligned);
    if (aligned && 4 * place + 4 <= count) {
      *reinterpret_cast<float4*>(to + begin + 4 * place) = {a.value[0] + b.value[0], a.value[1] + b.value[1],
                                                            a.value[2] + b.value[2], a.value[3] + b.value[3]};
      continue;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (4 * place + k < count) to[begin + 4 * place + k] = a.value[k] + b.value[k];
    }
  }
}

__global__ void __launch_bounds__(kFlatThreads) scale_kernel(float* g, std::int64_t size, float factor) {
  const std::int64_t begin = blockIdx.x * kSumBlock;
  float* block = g + begin;
  const std::int64_t count = min(kSumBlock, size - begin);
  const bool aligned = reinterpret_cast<std::uintptr_t>(block) % 16 == 0;
  FlatQuad quads[kFlatQuads];
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i)
    quads[i] = load_flat(block, i * kFlatThreads + static_cast<int>(threadIdx.x), count, aligned);
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i) {
    const int place = 4 * (i * kFlatThreads + static_cast<int>(threadIdx.x));
    const FlatQuad& q = quads[i];
    if (aligned && place + 4 <= count) {
      *reinterpret_cast<float4*>(block + place) =
          make_float4(q.value[0] * factor, q.value[1] * factor, q.value[2] * factor, q.value[3] * factor);
      continue;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (place + k < count) block[place + k] = q.value[k] * factor;
    }
  }
}

// *bad = 1 if an exponent is all ones: an infinity or a NaN. It was 0.
__global__ void __launch_bounds__(kFlatThreads) find_bad_kernel(int* bad, const float* g, std::int64_t size) {
  const std::int64_t begin = blockIdx.x * kSumBlock;
  const float* block = g + begin;
  const std::int64_t count = min(kSumBlock, size - begin);
  const bool aligned = reinterpret_cast<std::uintptr_t>(block) % 16 == 0;
  FlatQuad quads[kFlatQuads];
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i)
    quads[i] = load_flat(block, i * kFlatThreads + static_cast<int>(threadIdx.x), count, aligned);
  int found = 0;
#pragma unroll
  for (int i = 0; i < kFlatQuads; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      found |= (__float_as_uint(quads[i].value[k]) & 0x7f800000U) == 0x7f800000U ? 1 : 0;
  }
  if (__syncthreads_or(found) != 0 && threadIdx.x == 0) atomicOr(bad, 1);
}

template <class T>
T value_on_host(const Context& ctx, const T* place) {
  T value{};
  rlcpp::cuda::check(cudaMemcpyAsync(&value, place, sizeof value, cudaMemcpyDeviceToHost, stream_of(ctx)),
                     "cudaMemcpyAsync");
  rlcpp::cuda::check(cudaStreamSynchronize(stream_of(ctx)), "an operation on the GPU");
  return value;
}

OptimizerScratch scratch_of(const Context& ctx, const char* operation) {
  return OptimizerScratch(ctx.cuda->scratch(optimizer_scratch(), operation));
}

}  // namespace

double sum_of_squares(const Context& ctx, std::span<const Tensor> all) {
  const OptimizerScratch scratch = scratch_of(ctx, "sum_of_squares");
  BlockSums sums(stream_of(ctx), scratch);
  for (const Tensor& g : all) sums.add(address<const float>(g), g.size());
  sums.total();
  return value_on_host(ctx, scratch.total);
}

void scale(const Context& ctx, const Tensor& g, float factor) {
  if (g.size() == 0) return;
  scale_kernel<<<grid_of(ceil_div(g.size(), kSumBlock)), kFlatThreads, 0, stream_of(ctx)>>>(address<float>(g),
                                                                                            g.size(), factor);
  check_launch("scale");
}

void add(const Context& ctx, const Tensor& to, const Tensor& from) {
  if (to.size() == 0) return;
  add_kernel<<<grid_of(ceil_div(to.size(), kSumBlock)), kFlatThreads, 0, stream_of(ctx)>>>(
      address<float>(to), address<const float>(from), to.size());
  check_launch("add");
}

bool all_finite(const Context& ctx, const Tensor& g) {
  if (g.size() == 0) return true;
  const OptimizerScratch scratch = scratch_of(ctx, "all_finite");
  rlcpp::cuda::check(cudaMemsetAsync(scratch.bad, 0, sizeof(int), stream_of(ctx)), "cudaMemsetAsync");
  find_bad_kernel<<<grid_of(ceil_div(g.size(), kSumBlock)), kFlatThreads, 0, stream_of(ctx)>>>(
      scratch.bad, address<const float>(g), g.size());
  check_launch("all_finite");
  return value_on_host(ctx, scratch.bad) == 0;
}

}  // namespace rlcpp::ops::cuda
