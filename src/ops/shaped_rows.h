// Drawing many rows where they lie, from distributions that are more than softmax(logits / temperature):
// truncated (top-k, top-p, min-p), with a repetition penalty, or without some ids. What rows ask for lies
// where the device reads it, so that one launch serves every step and a captured graph can be replayed.
#pragma once

#include <cstdint>
#include <span>

#include "ops/sampling.h"

namespace rlcpp::ops {

struct ShapedRow {
  std::int32_t row;  // of logits
  float temperature, uniform;
  std::int32_t top_k;
  float top_p, min_p, repetition_penalty;
  std::int32_t seen, seen_count;            // where its list of seen ids begins, and how many there are
  std::int32_t forbidden, forbidden_count;  // ids that are never drawn, likewise
};
constexpr std::int32_t kShapedWidth = sizeof(ShapedRow) / sizeof(std::int32_t);

// A list of ids is the ids, in any order and as often as they were seen; or, where that would be longer than
// one bit for each id of the vocabulary, those bits: id i is bit i % 32 of word i / 32. Words that it takes:
std::int64_t shaped_list_words(std::int64_t ids, std::int64_t vocabulary);
// Writes a list to the beginning of `to` and says how many words it took.
std::int64_t write_shaped_list(std::span<std::int32_t> to, std::span<const std::int32_t> ids,
                               std::int64_t vocabulary);

struct ShapedRows {
  Tensor count;  // [1] i32: rows in use
  Tensor rows;   // [most, kShapedWidth] i32: ShapedRow
  Tensor lists;  // [words] i32
  Tensor marks;  // [most, ceil(V / 32)] i32: scratch
  bool empty() const { return rows.empty(); }
};

// logits [R, V] f32 raw; ids [R] i32 and logprobs [R] f32. Draws the rows that are named, each once, and
// overwrites their logits; the others are left alone. What is drawn is what sample_row() says of these
// parameters, with the row's forbidden ids at minus infinity before everything else; a row that is not finite
// gets id -1. A row's draw depends on that row and its parameters alone. On a GPU weights are integers, so
// sums have no order; a weight is rounded down to a multiple of 2^-41 of the largest.
void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped);

}  // namespace rlcpp::ops
