#include "ops/cpu/adapter.h"

#include <algorithm>

#include "base/rng.h"
#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kDropoutBlock = 4096;  // elements of a task: whole Philox blocks

// each(i, kept) for every element.
template <class Each>
void for_each_drawn(const Context& ctx, std::int64_t size, const Dropout& dropout, const Each& each) {
  const std::uint32_t threshold = dropout.threshold();
  parallel_blocks(ctx, size, kDropoutBlock, 16.0 * static_cast<double>(size),
                  [&](std::int64_t begin, std::int64_t count) {
                    for (std::int64_t i = begin; i < begin + count; i += 4) {
                      const PhiloxBlock words =
                          philox4x32(static_cast<std::uint64_t>(i) / 4, dropout.stream, dropout.key);
                      const std::int64_t end = std::min<std::int64_t>(4, begin + count - i);
                      for (std::int64_t k = 0; k < end; ++k) {
                        each(i + k, words[static_cast<std::size_t>(k)] >= threshold);
                      }
                    }
                  });
}

}  // namespace

void adapter_expand(const Context&, const Tensor& expanded, const Tensor& b, const AdapterBlocks& blocks,
                    float scale) {
  const std::int64_t rank = b.dim(1), width = expanded.dim(1);
  std::fill_n(expanded.f32(), expanded.size(), 0.0F);
  const float* from = b.f32();
  for (std::size_t t = 0; t < blocks.targets; ++t) {
    float* to = expanded.f32() + blocks.block[t].row * width + static_cast<std::int64_t>(t) * rank;
    for (std::int64_t row = 0; row < blocks.block[t].count; ++row, to += width, from += rank) {
      for (std::int64_t k = 0; k < rank; ++k) to[k] = scale * from[k];
    }
  }
}

void adapter_collect(const Context&, const Tensor& db, const Tensor& dexpanded, const AdapterBlocks& blocks,
                     float scale) {
  const std::int64_t rank = db.dim(1), width = dexpanded.dim(1);
  float* to = db.f32();
  for (std::size_t t = 0; t < blocks.targets; ++t) {
    const float* from = dexpanded.f32() + blocks.block[t].row * width + static_cast<std::int64_t>(t) * rank;
    for (std::int64_t row = 0; row < blocks.block[t].count; ++row, to += rank, from += width) {
      for (std::int64_t k = 0; k < rank; ++k) to[k] = scale * from[k];
    }
  }
}

void dropout_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Dropout& dropout) {
  float* to = y.f32();
  const float* from = x.f32();
  const float scale = dropout.kept_scale();
  for_each_drawn(ctx, y.size(), dropout,
                 [=](std::int64_t i, bool kept) { to[i] = kept ? scale * from[i] : 0.0F; });
}

void dropout_backward(const Context& ctx, const Tensor& dx, const Tensor& dy, const Dropout& dropout) {
  float* to = dx.f32();
  const float* from = dy.f32();
  const float scale = dropout.kept_scale();
  for_each_drawn(ctx, dx.size(), dropout, [=](std::int64_t i, bool kept) {
    if (kept) to[i] += scale * from[i];
  });
}

}  // namespace rlcpp::ops::cpu
