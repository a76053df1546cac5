#include "ops/cuda/attention_cuda.h"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kOffsetThreads = 256;

__global__ void __launch_bounds__(kOffsetThreads)
    ragged_offsets_kernel(const RaggedOffsets offsets, int slots, const std::int32_t* cu_seqlens,
                          int documents, int width, int out_width, int heads) {
  const int d = static_cast<int>(blockIdx.x) * kOffsetThreads + static_cast<int>(threadIdx.x);
  if (d > slots) return;
  const std::int32_t begin = cu_seqlens[min(d, documents)];
  offsets.qkv[d] = begin * width;
  offsets.out[d] = begin * out_width;
  offsets.stats[d] = begin * heads;
  if (d < slots) offsets.lengths[d] = cu_seqlens[min(d + 1, documents)] - begin;
}

}  // namespace

RaggedOffsets take_offsets(ScratchLayout& layout, std::int64_t slots) {
  const auto count = static_cast<std::size_t>(slots);
  RaggedOffsets offsets;
  offsets.lengths = layout.take<std::int32_t>(count);
  offsets.qkv = layout.take<std::int32_t>(count + 1);
  offsets.out = layout.take<std::int32_t>(count + 1);
  offsets.stats = layout.take<std::int32_t>(count + 1);
  return offsets;
}

void write_offsets(cudaStream_t stream, const RaggedOffsets& offsets, std::int64_t slots,
                   const std::int32_t* cu_seqlens, const AttentionCall& call) {
  RLCPP_CHECK(call.rows * call.shape.width() <= std::numeric_limits<std::int32_t>::max());
  ragged_offsets_kernel<<<grid_of(ceil_div(slots + 1, kOffsetThreads)), kOffsetThreads, 0, stream>>>(
      offsets, static_cast<int>(slots), cu_seqlens, static_cast<int>(call.documents),
      static_cast<int>(call.shape.width()), static_cast<int>(call.shape.num_heads * call.shape.head_dim),
      static_cast<int>(call.shape.num_heads));
  check_launch("attention_forward: offsets");
}

}  // namespace rlcpp::ops::cuda
