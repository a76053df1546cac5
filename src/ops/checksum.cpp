#include "ops/checksum.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ops/cpu/parallel.h"
#include "ops/cuda/checksum.h"
#include "tensor/copy.h"

namespace rlcpp::ops {
namespace {

constexpr std::int64_t kWords = std::int64_t{1} << 16;  // of a task

std::uint64_t checksum_word(std::uint64_t place, std::uint32_t word) {
  std::uint64_t z = (place << 32) | word;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::uint64_t sum_of(const std::byte* bytes, std::int64_t count, std::int64_t first_word,
                     std::int64_t words) {
  std::uint64_t sum = 0;
  for (std::int64_t i = first_word; i < first_word + words; ++i) {
    std::uint32_t word = 0;
    const std::int64_t left = std::min<std::int64_t>(4, count - 4 * i);
    std::memcpy(&word, bytes + 4 * i, static_cast<std::size_t>(left));
    sum += checksum_word(static_cast<std::uint64_t>(i), word);
  }
  return sum;
}

std::uint64_t on_cpu(const Context& ctx, const Tensor& t) {
  const auto* const bytes = static_cast<const std::byte*>(t.raw());
  const auto count = static_cast<std::int64_t>(t.bytes());
  const std::int64_t words = (count + 3) / 4;
  std::vector<std::uint64_t> parts(static_cast<std::size_t>((words + kWords - 1) / kWords));
  cpu::parallel_blocks(ctx, words, kWords, static_cast<double>(words) * 2,
                       [&](std::int64_t begin, std::int64_t n) {
                         parts[static_cast<std::size_t>(begin / kWords)] = sum_of(bytes, count, begin, n);
                       });
  std::uint64_t sum = 0;
  for (const std::uint64_t part : parts) sum += part;
  return sum;
}

}  // namespace

std::vector<std::uint64_t> checksums(const Context& ctx, std::span<const Tensor> tensors,
                                     const Tensor& sums) {
  const auto count = static_cast<std::int64_t>(tensors.size());
  std::vector<std::uint64_t> out(tensors.size(), 0);
  for (const Tensor& t : tensors) {
    RLCPP_CHECK(t.device() == ctx.device && t.bytes() < std::size_t{16} << 30);
    RLCPP_CHECK(reinterpret_cast<std::uintptr_t>(t.raw()) % 4 == 0);
  }
  if (count == 0) return out;
  if (!ctx.on_gpu()) {
    for (std::size_t i = 0; i < tensors.size(); ++i) out[i] = on_cpu(ctx, tensors[i]);
    return out;
  }
  RLCPP_CHECK(sums.dtype() == DType::kI64 && sums.rank() == 1 && sums.dim(0) >= count);
  const Tensor here = sums.rows(0, count);
  cuda::checksums(ctx, tensors, here);
  synchronize(ctx);
  copy(host_view(std::span(out), DType::kI64), here);
  return out;
}

}  // namespace rlcpp::ops
