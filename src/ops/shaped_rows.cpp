#include "ops/shaped_rows.h"

#include <algorithm>

#include "ops/checks.h"
#include "ops/cpu/sampling.h"
#include "ops/cuda/sampling.h"

namespace rlcpp::ops {
namespace {

std::int64_t words_of_bits(std::int64_t vocabulary) {
  return (vocabulary + 31) / 32;
}

}  // namespace

std::int64_t shaped_list_words(std::int64_t ids, std::int64_t vocabulary) {
  return std::min(ids, words_of_bits(vocabulary));
}

std::int64_t write_shaped_list(std::span<std::int32_t> to, std::span<const std::int32_t> ids,
                               std::int64_t vocabulary) {
  const auto count = static_cast<std::int64_t>(ids.size());
  const std::int64_t words = shaped_list_words(count, vocabulary);
  RLCPP_CHECK(words <= static_cast<std::int64_t>(to.size()));
  if (words == count) {
    std::ranges::copy(ids, to.begin());
    return words;
  }
  std::fill_n(to.begin(), words, 0);
  for (const std::int32_t id : ids) {
    RLCPP_CHECK(id >= 0 && id < vocabulary);
    std::int32_t& word = to[static_cast<std::size_t>(id / 32)];
    word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) | (1U << (id % 32)));
  }
  return words;
}

void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped) {
  RLCPP_CHECK(logits.rank() == 2 && logits.dim(1) > 0);
  const std::int64_t rows = logits.dim(0), most = shaped.rows.dim(0);
  RLCPP_CHECK(is_f32(logits, {rows, logits.dim(1)}) && is_i32(ids, {rows}) && is_f32(logprobs, {rows}));
  RLCPP_CHECK(is_i32(shaped.count, {1}) && is_i32(shaped.rows, {most, kShapedWidth}));
  RLCPP_CHECK(is_i32(shaped.lists, {shaped.lists.size()}));
  RLCPP_CHECK(is_i32(shaped.marks, {most, words_of_bits(logits.dim(1))}));
  if (ctx.on_gpu()) return cuda::sample_shaped_rows(ctx, ids, logprobs, logits, shaped);
  cpu::sample_shaped_rows(ctx, ids, logprobs, logits, shaped);
}

}  // namespace rlcpp::ops
