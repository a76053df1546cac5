// The kernels of the head for head.cpp, and its scratch.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

// The head works in the caller's chunk of logits and needs no scratch of its own; the products take theirs.
inline std::size_t head_scratch(const WorkspaceNeeds&) {
  return 0;
}

// What one walk over the rows of a chunk reads and writes; all pointers are to its first row.
struct HeadRowArgs {
  float* logits = nullptr;  // [rows, vocabulary], not yet divided by the temperature
  std::int64_t rows = 0;
  std::int64_t vocabulary = 0;
  const std::int32_t* targets = nullptr;  // -1: the row is skipped
  const float* temperatures = nullptr;
  const float* coefficients = nullptr;  // null: no gradient
  float* logprobs = nullptr;            // null: not wanted
  float* entropies = nullptr;           // null: not wanted
};

// Log-probabilities and entropies of the rows, 0 without a target, NaN for a target beyond the vocabulary.
// With coefficients the gradient of the logits takes the place of the logits: row r is bf16 [vocabulary] at
// the start of its own f32 row, so the rows of dz lie 2 * vocabulary bf16 elements apart.
void head_rows(cudaStream_t stream, const HeadRowArgs& args);

// logits [rows, vocabulary] /= temperatures [rows].
void divide_rows(cudaStream_t stream, float* logits, const float* temperatures, std::int64_t rows,
                 std::int64_t vocabulary);

// lse [rows]; entropy [rows] may be null. The sums are those of head_rows at temperature 1.
void row_statistics(cudaStream_t stream, float* lse, float* entropy, const float* logits, std::int64_t rows,
                    std::int64_t vocabulary);

}  // namespace rlcpp::ops::cuda
