// Products through cuBLASLt for the files of this folder: logits of the head, and any other product of two
// bf16 matrices. The public products with a weight are in matmul.h; how an algorithm is chosen is in
// matmul_plans.h.
#pragma once

#include <cstdint>

#include "ops/cuda/matmul_plans.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

// out [m, n] (+)= op(a) op(b), where op transposes if its flag is set: a is [m, k] or, transposed, [k, m]; b
// is [k, n] or, transposed, [n, k]. out is f32 or bf16, a and b are bf16, all row-major; sums in f32, with
// accumulate over the old out and one rounding at the end. lda: elements from one row of a to the next (0:
// dense), so a may be a block of columns of a wider matrix; `a` then has the shape of the block. m = 0 or n =
// 0: nothing; k = 0: out is 0, or unchanged with accumulate. Takes kProductWorkspace bytes of scratch, so no
// operand may lie in the scratch that Runtime::scratch hands out, unless it lies behind these bytes.
void product_into(const Context& ctx, const Tensor& out, const Tensor& a, bool transpose_a, const Tensor& b,
                  bool transpose_b, bool accumulate, std::int64_t lda = 0);

// How linear_backward_weight() cuts its sum over the rows of dy and x for a result of few tiles, which one
// chain would leave to as few multiprocessors: `parts` times `rows` rows, a multiple of 64, from the first
// row on; what is left is a product of its own. A function of the shape alone. No parts: the sum is one
// chain.
struct RowParts {
  std::int64_t parts = 0, rows = 0;
};
RowParts row_parts(std::int64_t m, std::int64_t n, std::int64_t rows);

// logits [R, V] f32 = hidden [R, H] w^T, w [V, H].
void product_logits(const Context& ctx, const Tensor& logits_f32, const Tensor& hidden_bf16,
                    const Tensor& w_bf16);

}  // namespace rlcpp::ops::cuda
