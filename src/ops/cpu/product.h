// The matrix product under all linear layers: splits it into tiles over the threads and packs operands.
#pragma once

#include <cstdint>

#include "ops/context.h"

namespace rlcpp::ops::cpu {

enum class OperandB : std::uint8_t {
  kPanels,      // packed: panel j holds columns 32 j .. 32 j + 31 of all rows, [k][32], zeros beyond n
  kRows,        // [k, n] with row stride ldb
  kTransposed,  // [n, k] with row stride ldb
};

// C [m, n] = A [m, k] B [k, n]: each element is one chain of fused multiply-adds over k = 0, 1, ..., that
// starts from 0, or from the old C if `resume`; then + bias[n], then + the old C if `add_old`. resume and
// add_old exclude each other.
struct Product {
  const float* a = nullptr;
  std::int64_t lda = 0;
  bool a_transposed = false;  // A[i][k] = a[k * lda + i]
  const float* b = nullptr;
  std::int64_t ldb = 0;
  OperandB b_form = OperandB::kRows;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool resume = false;
  const float* bias = nullptr;
  bool add_old = false;
};
void product(const Context& ctx, const Product& p);

// Floats of the packed form of B [k, n], and the packing.
std::int64_t panels_size(std::int64_t n, std::int64_t k);
void pack_panels(const Context& ctx, float* panels, const float* b, std::int64_t ldb, OperandB form,
                 std::int64_t n, std::int64_t k);

}  // namespace rlcpp::ops::cpu
