#include <algorithm>
#include <cstdint>

#include "ops/cuda/checksum.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kChecksumThreads = 256;

__device__ std::uint64_t checksum_word(std::uint64_t place, std::uint32_t word) {
  std::uint64_t z = (place << 32) | word;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// Integer sums: atomic additions in any order give the same bits.
__global__ void checksum_kernel(unsigned long long* sum, const std::uint32_t* words, std::int64_t count,
                                const std::uint8_t* rest, int rest_bytes) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  std::uint64_t mine = 0;
  for (std::int64_t i = first; i < count; i += step)
    mine += checksum_word(static_cast<std::uint64_t>(i), words[i]);
  if (first == 0 && rest_bytes > 0) {
    std::uint32_t word = 0;
    for (int i = 0; i < rest_bytes; ++i) word |= static_cast<std::uint32_t>(rest[i]) << (8 * i);
    mine += checksum_word(static_cast<std::uint64_t>(count), word);
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(0xFFFFFFFFU, mine, lanes);
  if (threadIdx.x % 32 == 0) atomicAdd(sum, static_cast<unsigned long long>(mine));
}

}  // namespace

void checksums(const Context& ctx, std::span<const Tensor> tensors, const Tensor& sums) {
  rlcpp::cuda::check(cudaMemsetAsync(sums.raw(), 0, sums.bytes(), stream_of(ctx)), "cudaMemsetAsync");
  auto* const to = static_cast<unsigned long long*>(sums.raw());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = static_cast<std::int64_t>(tensors[i].bytes());
    if (bytes == 0) continue;
    const std::int64_t words = bytes / 4;
    const std::int64_t blocks =
        std::clamp<std::int64_t>((words + kChecksumThreads * 8 - 1) / (kChecksumThreads * 8), 1, 2048);
    const auto* const data = static_cast<const std::uint8_t*>(tensors[i].raw());
    checksum_kernel<<<static_cast<unsigned>(blocks), kChecksumThreads, 0, stream_of(ctx)>>>(
        to + i, reinterpret_cast<const std::uint32_t*>(data), words, data + 4 * words,
        static_cast<int>(bytes % 4));
  }
  check_launch("checksums");
}

}  // namespace rlcpp::ops::cuda
