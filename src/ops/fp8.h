// Products of two matrices of eight-bit numbers: e4m3 (four bits of exponent, three of fraction, largest 448,
// no infinity; Micikevicius et al. 2022, "FP8 formats for deep learning"), with one f32 scale a matrix that
// its own largest value gives: x = scale * q. Sums are f32, or what the GPU's instruction for such sums
// keeps. A GPU multiplies rows by rows alone, so who needs a matrix the other way round has it quantised
// transposed.
#pragma once

#include <cstdint>

#include "ops/context.h"

namespace rlcpp::ops {

inline constexpr float kFp8Largest = 448.0F;
// Rows of quantised matrices are multiples of this long.
inline constexpr std::int64_t kFp8Step = 16;
constexpr std::int64_t fp8_padded(std::int64_t length) {
  return (length + kFp8Step - 1) / kFp8Step * kFp8Step;
}

// Whether this device has them: the CPU computes what they would be, GPUs have them since compute
// capability 8.9.
bool has_fp8(const Context& ctx);

// largest [1] f32 = the largest of largest and |x|, x [M, K] of the compute type, K a multiple of kFp8Step.
// Not a number if any x is none.
void fp8_largest(const Context& ctx, const Tensor& largest, const Tensor& x);

// From x [M, K] as above: q [M, K] and qt [K, fp8_padded(M)], both u8 and e4m3, either may be empty;
// qt = q transposed, 0 in the columns that x has no rows for. scale [1] f32 = max(largest, 2^-100) / 448;
// values are x * (448 / max(largest, 2^-100)) to the nearest, ties to even, at most 448. A `largest` that is
// not finite makes the scale, and so every product, infinite or not a number.
void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest);

// How exactly the GPU keeps sums: its instruction keeps about 14 bits of a sum of e4m3 products.
enum class Fp8Sums : std::uint8_t {
  kQuick,    // all of k by that instruction
  kCareful,  // every few instructions the sum is added to one in f32
};

// out [M, N] = scale_a scale_b a b^T (+ bias [N] of the compute type) (+ out if accumulate); a [M, K], b [N,
// K] u8, K a multiple of kFp8Step, scales [1] f32 at multiples of 16 bytes. out is f32, or of the compute
// type without accumulate; a bias needs the latter.
void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate, Fp8Sums sums);

}  // namespace rlcpp::ops
