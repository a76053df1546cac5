// What low-rank adapters (LoRA; Hu et al. 2021) need beside products. A fused product of N outputs serves
// several targets, e.g. q, k and v; each has its own B [rows, r], and their A are stacked. The product reads
// one matrix for all of them, [N, targets * r], which holds scale * B of target i in the target's rows and in
// columns [i r, (i + 1) r), and zeros elsewhere: two products then add every target's adapter, instead of two
// a target.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ops/context.h"

namespace rlcpp::ops {

// Where each target's outputs lie in the product. Its B is the next `count` rows of the stacked B.
struct AdapterBlocks {
  struct Block {
    std::int64_t row = 0;    // first output in the product
    std::int64_t count = 0;  // outputs
  };
  static constexpr std::size_t kMost = 3;
  std::array<Block, kMost> block = {};
  std::size_t targets = 0;

  std::int64_t rows() const;  // of the stacked B
};

// expanded [N, targets * r] of the compute type = scale * b [rows, r] f32 in its blocks, rounded once, and 0
// elsewhere. Blocks lie inside N and do not overlap.
void adapter_expand(const Context& ctx, const Tensor& expanded, const Tensor& b, const AdapterBlocks& blocks,
                    float scale);

// The gradient of b from that of `expanded`: db [rows, r] = scale * dexpanded's blocks [N, targets * r], both
// f32. What lies outside the blocks is no parameter and is not read.
void adapter_collect(const Context& ctx, const Tensor& db, const Tensor& dexpanded,
                     const AdapterBlocks& blocks, float scale);

// A product with its adapter: y [M, N] = x [M, K] w^T (+ bias [N]) + h [M, R] b^T, w [N, K] with its packed
// form (may be empty), h = x A^T as a product has made it, b [N, R] expanded. The same as linear_forward()
// twice, the second time onto y; on a Hopper GPU one sum, rounded once, where there is no bias and sizes
// allow it.
void adapted_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                     const Tensor& packed, const Tensor& bias, const Tensor& h, const Tensor& b);
// dx [M, K] = dy [M, N] w + dh [M, R] a, a [R, K]; likewise.
void adapted_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                            const Tensor& dh, const Tensor& a);

// A mask as a pure function of these numbers and of an element's place, so that forward, recomputation and
// backward draw the same: element i is dropped if word i mod 4 of the Philox block i / 4 of this key and
// stream is below probability * 2^32.
struct Dropout {
  float probability = 0;  // in [0, 1)
  std::uint64_t key = 0, stream = 0;

  float kept_scale() const { return 1.0F / (1.0F - probability); }
  std::uint32_t threshold() const;
};

// y = x where kept, times 1 / (1 - probability), and 0 where dropped; the compute type, any shape. y may be
// x.
void dropout_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Dropout& dropout);
// dx += dy where kept, times 1 / (1 - probability).
void dropout_backward(const Context& ctx, const Tensor& dx, const Tensor& dy, const Dropout& dropout);

}  // namespace rlcpp::ops
