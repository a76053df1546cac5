// The language-model head: logits, log-probability, entropy and their gradient, in chunks of rows, so that a
// [tokens x vocabulary] tensor never exists. SFT, RL, the engine's sampler and evaluation all come through
// here. exact: a row's logits come from linear_forward, its sums over the vocabulary have one fixed order, so
// the trainer's log-probability of a token equals the engine's bit for bit.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// logits [R, V] f32 = hidden [R, H] w^T / temperature, w [V, H] with its packed form (may be empty);
// temperatures [R] f32 (empty: all 1). The engine calls this with the rows it samples from, the trainer with
// each chunk.
void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& packed, const Tensor& temperatures);

// lse [R] f32 = log sum exp of each row of logits [R, V]; entropy [R] = lse - sum p z (may be empty).
void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits);

// The chunked head. M rows in all, processed chunk_rows = logits.dim(0) at a time.
struct HeadInputs {
  Tensor hidden;        // [M, H], after the final norm
  Tensor w;             // [V, H]
  Tensor packed;        // packed form of w, or empty
  Tensor targets;       // [M] i32: the token whose log-probability is wanted; -1: none, the row is skipped
  Tensor temperatures;  // [M] f32
  Tensor logits;        // [chunk, V] f32 workspace
  // Both visits are made, one after the other, and nothing between them touches `logits`: with room for all
  // rows visit two may find there what visit one has left. Changes no bit.
  bool kept = false;
};

// Visit one: logprobs [M] f32 = z[target] - lse, entropies [M] f32 (may be empty). Rows without a target
// get 0. The bits do not depend on the chunk's size, nor on which rows are skipped.
void head_logprobs(const Context& ctx, const Tensor& logprobs, const Tensor& entropies, const HeadInputs& in);

// Visit two, with c [M] f32 = d loss / d logprob of each row and dz = c (onehot(target) - p) / temperature:
// dhidden [M, H] is overwritten (rows with target -1 or c = 0 get 0), dw [V, H] accumulates (empty: frozen
// head). The chunk's size changes no bit here either.
void head_backward(const Context& ctx, const Tensor& dhidden, const Tensor& dw, const Tensor& coefficients,
                   const HeadInputs& in);

// Both visits in one, with the bits of both, for losses local to a token (cross-entropy: c = -weight):
// logits are computed once a chunk.
void head_fused(const Context& ctx, const Tensor& logprobs, const Tensor& entropies, const Tensor& dhidden,
                const Tensor& dw, const Tensor& coefficients, const HeadInputs& in);

// rows [M, N] of the compute type, row r times factors[r] ([M] f32): multiplied in f32 and rounded once; 0
// where the factor is 0, whatever the row held. With it a frozen head is visited once by a loss that is not
// local to a token: head_fused with coefficients of 1, then dhidden times the coefficients that its
// log-probabilities gave. That is head_backward's dhidden with one rounding more (2^-8 of each element in
// bf16, 2^-24 in f32).
void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors);

}  // namespace rlcpp::ops
