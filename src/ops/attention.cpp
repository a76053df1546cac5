#include "ops/attention.h"

#include <span>
#include <vector>

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/attention.h"
#include "ops/cuda/attention.h"
#include "tensor/copy.h"

namespace rlcpp::ops {
namespace {

constexpr std::int64_t kMaxHeadDim = 512;

void check_shape(const QkvShape& shape, float scale) {
  RLCPP_CHECK(shape.num_heads > 0 && shape.num_kv_heads > 0 && shape.num_heads % shape.num_kv_heads == 0);
  RLCPP_CHECK(shape.head_dim > 0 && shape.head_dim <= kMaxHeadDim);
  RLCPP_CHECK(scale > 0);
}

void check_documents(const Documents& documents, std::int64_t rows) {
  const Tensor& cu_seqlens = documents.cu_seqlens;
  RLCPP_CHECK(cu_seqlens.rank() == 1 && cu_seqlens.dtype() == DType::kI32 && cu_seqlens.dim(0) >= 1);
  RLCPP_CHECK(documents.longest >= 0 && documents.longest <= rows);
  if (cu_seqlens.device().kind != DeviceKind::kCpu) return;
  const auto cu = cu_seqlens.i32_span();
  RLCPP_CHECK(cu.front() == 0 && cu.back() == rows);
  for (std::size_t d = 1; d < cu.size(); ++d) RLCPP_CHECK(cu[d] >= cu[d - 1]);
}

// Two products of every query with the keys up to its own.
double forward_flops(const Documents& documents, const QkvShape& shape) {
  std::vector<std::int32_t> cu(static_cast<std::size_t>(documents.cu_seqlens.size()));
  copy(host_view(std::span(cu), DType::kI32), documents.cu_seqlens);
  double pairs = 0;
  for (std::size_t d = 1; d < cu.size(); ++d) {
    const double n = cu[d] - cu[d - 1];
    pairs += n * (n + 1) / 2;
  }
  return 4.0 * static_cast<double>(shape.num_heads * shape.head_dim) * pairs;
}

void check_pages(const Context& ctx, const KvPages& pages, const QkvShape& shape) {
  RLCPP_CHECK(pages.k.rank() == 4 && pages.page_size() > 0);
  RLCPP_CHECK(
      is_compute(ctx, pages.k, {pages.k.dim(0), pages.page_size(), shape.num_kv_heads, shape.head_dim}));
  RLCPP_CHECK(
      is_compute(ctx, pages.v, {pages.k.dim(0), pages.page_size(), shape.num_kv_heads, shape.head_dim}));
}

void check_work(const PagedWork& work, const QkvShape& shape) {
  if (work.empty()) return;
  RLCPP_CHECK(work.launched.decode <= work.decode.dim(0) && work.launched.prefill <= work.prefill.dim(0));
  RLCPP_CHECK(is_i32(work.decode, {work.decode.dim(0), kDecodeWidth}) &&
              is_i32(work.prefill, {work.prefill.dim(0), kPrefillWidth}) && is_i32(work.counts, {2}));
  RLCPP_CHECK(work.arrivals.rank() == 1 && work.partials.rank() == 1 && work.max_chunks > 0);
  RLCPP_CHECK(work.arrivals.dim(0) % shape.num_kv_heads == 0);
  const std::int64_t sequences = work.arrivals.dim(0) / shape.num_kv_heads;
  RLCPP_CHECK(work.partials.dim(0) >= sequences * work.max_chunks * shape.num_heads * (shape.head_dim + 2));
}

}  // namespace

void attention_forward(const Context& ctx, const Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const Documents& documents, const QkvShape& shape, float scale) {
  const std::int64_t rows = qkv.dim(0);
  check_shape(shape, scale);
  check_documents(documents, rows);
  RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}) &&
              is_compute(ctx, out, {rows, shape.num_heads * shape.head_dim}));
  RLCPP_CHECK(is_f32(lse, {rows, shape.num_heads}));
  const std::int64_t longest = documents.longest;
  const LoggedCall logged(ctx, [&] {
    return Call{"attention_forward",
                {rows, documents.longest, shape.num_heads, shape.num_kv_heads, shape.head_dim},
                {out, lse, qkv, documents.cu_seqlens},
                forward_flops(documents, shape),
                bytes_of({out, lse, qkv}),
                [=](const Context& c, const Call::Operands& t) {
                  attention_forward(c, t[0], t[1], t[2], {t[3], longest}, shape, scale);
                }};
  });
  if (ctx.on_gpu()) return cuda::attention_forward(ctx, out, lse, qkv, documents, shape, scale);
  cpu::attention_forward(ctx, out, lse, qkv, documents.cu_seqlens, shape, scale);
}

void attention_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dout, const Tensor& out,
                        const Tensor& lse, const Tensor& qkv, const Tensor& delta, const Documents& documents,
                        const QkvShape& shape, float scale) {
  const std::int64_t rows = qkv.dim(0);
  check_shape(shape, scale);
  check_documents(documents, rows);
  RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}) && is_compute(ctx, dqkv, {rows, shape.width()}) &&
              qkv.raw() != dqkv.raw());
  RLCPP_CHECK(is_compute(ctx, out, {rows, shape.num_heads * shape.head_dim}));
  RLCPP_CHECK(is_compute(ctx, dout, {rows, shape.num_heads * shape.head_dim}));
  RLCPP_CHECK(is_f32(lse, {rows, shape.num_heads}) && is_f32(delta, {rows, shape.num_heads}));
  const std::int64_t longest = documents.longest;
  const LoggedCall logged(ctx, [&] {
    return Call{"attention_backward",
                {rows, documents.longest, shape.num_heads, shape.num_kv_heads, shape.head_dim},
                {dqkv, dout, out, lse, qkv, delta, documents.cu_seqlens},
                2 * forward_flops(documents, shape),
                bytes_of({dqkv, dout, out, lse, qkv}),
                [=](const Context& c, const Call::Operands& t) {
                  attention_backward(c, t[0], t[1], t[2], t[3], t[4], t[5], {t[6], longest}, shape, scale);
                }};
  });
  if (ctx.on_gpu()) {
    return cuda::attention_backward(ctx, dqkv, dout, out, lse, qkv, delta, documents, shape, scale);
  }
  cpu::attention_backward(ctx, dqkv, dout, out, lse, qkv, delta, documents.cu_seqlens, shape, scale);
}

void use_attention_kernels(const Context& ctx, AttentionKernels kernels) {
  if (ctx.on_gpu()) cuda::use_attention_kernels(ctx, kernels);
}

void kv_write(const Context& ctx, const KvPages& pages, const Tensor& qkv, const Tensor& slots,
              const QkvShape& shape) {
  check_shape(shape, 1.0F);
  check_pages(ctx, pages, shape);
  RLCPP_CHECK(is_compute(ctx, qkv, {qkv.dim(0), shape.width()}) && is_i32(slots, {qkv.dim(0)}));
  if (ctx.on_gpu()) return cuda::kv_write(ctx, pages, qkv, slots, shape);
  const std::int64_t limit = pages.k.dim(0) * pages.page_size();
  for (const std::int32_t slot : slots.i32_span()) RLCPP_CHECK(slot >= 0 && slot < limit);
  cpu::kv_write(ctx, pages, qkv, slots, shape);
}

void kv_copy(const Context& ctx, const KvPages& pages, const Tensor& pairs) {
  RLCPP_CHECK(is_i32(pairs, {pairs.dim(0), 2}) && pages.k.rank() == 4 && pages.k.bytes() == pages.v.bytes());
  if (pairs.dim(0) == 0) return;
  if (ctx.on_gpu()) return cuda::kv_copy(ctx, pages, pairs);
  const auto list = pairs.i32_span();
  for (std::size_t i = 0; i < list.size(); i += 2) {
    for (const Tensor& t : {pages.k, pages.v}) copy(t.rows(list[i + 1], 1), t.rows(list[i], 1));
  }
}

void attention_paged(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                     const Tensor& positions, const Tensor& sequence_of, const Tensor& block_tables,
                     const QkvShape& shape, float scale, const PagedWork& work) {
  const std::int64_t rows = qkv.dim(0);
  check_shape(shape, scale);
  check_pages(ctx, pages, shape);
  check_work(work, shape);
  RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}) &&
              is_compute(ctx, out, {rows, shape.num_heads * shape.head_dim}));
  RLCPP_CHECK(is_i32(positions, {rows}) && is_i32(sequence_of, {rows}));
  RLCPP_CHECK(block_tables.rank() == 2 && block_tables.dtype() == DType::kI32);
  if (ctx.on_gpu()) {
    return cuda::attention_paged(ctx, out, qkv, pages, positions, sequence_of, block_tables, shape, scale,
                                 work);
  }
  RLCPP_CHECK(work.empty());
  const std::int64_t page_size = pages.page_size();
  const std::int64_t max_pages = block_tables.dim(1);
  const std::int32_t* table = block_tables.i32();
  for (std::int64_t t = 0; t < rows; ++t) {
    const std::int64_t sequence = sequence_of.i32()[t];
    const std::int64_t page = positions.i32()[t] / page_size;
    RLCPP_CHECK(sequence >= 0 && sequence < block_tables.dim(0) && positions.i32()[t] >= 0 &&
                page < max_pages);
    // The last page stands for those before it: they were read for earlier tokens of the sequence.
    const std::int64_t index = table[sequence * max_pages + page];
    RLCPP_CHECK(index >= 0 && index < pages.k.dim(0));
  }
  cpu::attention_paged(ctx, out, qkv, pages, positions, sequence_of, block_tables, shape, scale);
}

bool documents_in_library(const Context& ctx, std::int64_t rows, std::int64_t documents, std::int64_t longest,
                          const QkvShape& shape, float scale) {
  check_shape(shape, scale);
  RLCPP_CHECK(documents >= 0 && longest >= 0 && longest <= rows);
  if (!ctx.on_gpu() || ctx.mode == NumericMode::kExact) return false;
  return cuda::documents_in_library(ctx, rows, documents, longest, shape, scale);
}

bool exact_attention(const Context& ctx, const QkvShape& shape) {
  return !ctx.on_gpu() || takes_paged_work(ctx, shape, kPagedBlock);
}

bool takes_paged_work(const Context& ctx, const QkvShape& shape, std::int64_t page_size) {
  return ctx.on_gpu() && cuda::takes_paged_work(shape, page_size);
}

}  // namespace rlcpp::ops
