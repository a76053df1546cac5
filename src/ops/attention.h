// Causal attention with grouped key/value heads over packed documents, and over the paged cache of the
// rollout engine. q head h reads kv head h / (num_heads / num_kv_heads). scale is 1 / sqrt(head_dim) unless
// the model says otherwise. exact: for one query, every sum over keys runs in the order of their position in
// the document, so packing, batch, pages and prefill or decode give the same bits: the paged and the packed
// form share one kernel per query.
#pragma once

#include "ops/context.h"
#include "ops/paged_work.h"
#include "ops/rope.h"

namespace rlcpp::ops {

// The documents of a packed row: document d is rows [cu_seqlens[d], cu_seqlens[d + 1]).
struct Documents {
  Tensor cu_seqlens;         // [D + 1] i32, from 0 to M
  std::int64_t longest = 0;  // tokens of the longest document: a GPU's kernels are chosen by it on the host
};

// qkv [M, width] after qk_norm_rope_forward. out [M, num_heads * head_dim]; lse [M,
// num_heads] f32 = log sum exp of the scaled scores, kept for the backward.
void attention_forward(const Context& ctx, const Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const Documents& documents, const QkvShape& shape, float scale);

// True if attention_forward() over `documents` documents, the longest of `longest` tokens, in `rows` rows
// runs on cuDNN's kernels: never on the CPU or in mode exact, and not where cuDNN is missing or refuses the
// shape. The first question of a kind may take the 100 ms that the first call would.
bool documents_in_library(const Context& ctx, std::int64_t rows, std::int64_t documents, std::int64_t longest,
                          const QkvShape& shape, float scale);

// dqkv [M, width] is overwritten. delta [M, num_heads] f32 is scratch for rowsum(dout * out).
void attention_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dout, const Tensor& out,
                        const Tensor& lse, const Tensor& qkv, const Tensor& delta, const Documents& documents,
                        const QkvShape& shape, float scale);

// True if attention of this shape has one order of sums in the packed and the paged form (mode exact): on the
// CPU always, on a GPU where takes_paged_work() for pages of 16 tokens.
bool exact_attention(const Context& ctx, const QkvShape& shape);

// Which kernels of a GPU compute the two above. fastest is what runs use: cuDNN forward, and backward our
// kernels for Hopper, else cuDNN, else our portable ones. unordered is for runs that need not repeat:
// backwards of documents of one length by cuDNN's algorithm that adds gradients of queries in the order in
// which they come; set it before scratch is planned. The others are for tests and benchmarks that compare:
// library leaves out the kernels for Hopper, portable uses ours alone. A backward must see the setting of its
// forward. Nothing happens on the CPU.
enum class AttentionKernels : std::uint8_t { kFastest, kUnordered, kLibrary, kPortable };
void use_attention_kernels(const Context& ctx, AttentionKernels kernels);

// One layer's pages: k and v [num_pages, page_size, num_kv_heads, head_dim]. The order of the elements inside
// one page is the back end's own (the CPU keeps k transposed, [num_kv_heads, head_dim, page_size], and v
// [num_kv_heads, page_size, head_dim]): only kv_write and attention_paged look inside. Whole pages may be
// copied. Page sizes that are multiples of 16 are fastest.
struct KvPages {
  Tensor k;
  Tensor v;
  std::int64_t page_size() const { return k.dim(1); }
};

// Copies k and v of each row of qkv [T, width] into slot slots[t] (page * page_size + offset), slots [T] i32.
void kv_write(const Context& ctx, const KvPages& pages, const Tensor& qkv, const Tensor& slots,
              const QkvShape& shape);

// Whole pages: pairs [n, 2] i32 of where from and where to, all at once: no page is written that another pair
// reads or writes.
void kv_copy(const Context& ctx, const KvPages& pages, const Tensor& pairs);

// Row t of qkv is the query at position positions[t] of sequence sequence_of[t] (both [T] i32), whose keys
// 0..positions[t] lie in pages block_tables[sequence][position / page_size] (block_tables [S, max_pages]
// i32). kv_write comes first. out [T, num_heads * head_dim]. `work`: what is computed together, on a GPU for
// which takes_paged_work(); without it rows are computed one by one.
void attention_paged(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                     const Tensor& positions, const Tensor& sequence_of, const Tensor& block_tables,
                     const QkvShape& shape, float scale, const PagedWork& work = {});
// True if the context's device has kernels that read PagedWork for this shape.
bool takes_paged_work(const Context& ctx, const QkvShape& shape, std::int64_t page_size);

}  // namespace rlcpp::ops
