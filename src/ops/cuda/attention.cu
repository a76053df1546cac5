#include "ops/cuda/attention.h"

#include "ops/cuda/attention_cuda.h"
#include "ops/cuda/attention_exact.h"
#include "ops/cuda/attention_hopper.h"
#include "ops/cuda/attention_simple.h"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

AttentionCall attention_call(const Tensor& qkv, const Documents& documents, const QkvShape& shape,
                             float scale) {
  return {qkv.dim(0), documents.cu_seqlens.dim(0) - 1, documents.longest, shape, scale};
}

SimpleAttention simple_call(const Tensor& out, const Tensor& lse, const Tensor& qkv,
                            const Documents& documents, const AttentionCall& call) {
  SimpleAttention simple;
  simple.qkv = address<const bf16>(qkv);
  simple.cu_seqlens = address<const std::int32_t>(documents.cu_seqlens);
  simple.documents = call.documents;
  simple.rows = call.rows;
  simple.shape = call.shape;
  simple.scale = call.scale;
  simple.out = address<bf16>(out);
  simple.lse = address<float>(lse);
  return simple;
}

// Elements of qkv from the start of a row to the first of these kv heads and of its queries.
struct HeadColumns {
  std::int64_t q, k, v;
  HeadColumns(const QkvShape& shape, std::int64_t kv_head)
      : q(kv_head * (shape.num_heads / shape.num_kv_heads) * shape.head_dim),
        k((shape.num_heads + kv_head) * shape.head_dim),
        v((shape.num_heads + shape.num_kv_heads + kv_head) * shape.head_dim) {}
};

}  // namespace

void use_attention_kernels(const Context& ctx, AttentionKernels kernels) {
  ctx.cuda->attention().use(kernels);
}

bool documents_in_library(const Context& ctx, std::int64_t rows, std::int64_t documents, std::int64_t longest,
                          const QkvShape& shape, float scale) {
  return ctx.cuda->attention().forward({rows, documents, longest, shape, scale}).graph != nullptr;
}

void attention_forward(const Context& ctx, const Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const Documents& documents, const QkvShape& shape, float scale) {
  const AttentionCall call = attention_call(qkv, documents, shape, scale);
  if (call.rows == 0) return;
  if (ctx.mode == NumericMode::kExact) {
    const SimpleAttention exact = simple_call(out, lse, qkv, documents, call);
    RLCPP_CHECK(exact_attention_takes(exact));
    return exact_attention_forward(stream_of(ctx), exact);
  }
  const AttentionPlans::Choice choice = ctx.cuda->attention().forward(call);
  if (choice.graph == nullptr) {
    simple_attention_forward(stream_of(ctx), simple_call(out, lse, qkv, documents, call));
    return;
  }
  RLCPP_CHECK(vectorisable(shape.head_dim, {qkv.raw(), out.raw(), lse.raw()}));
  const auto workspace_bytes = static_cast<std::size_t>(choice.graph->workspace_bytes());
  ScratchLayout sizes;
  if (choice.shape.ragged) take_offsets(sizes, choice.shape.documents);
  ScratchLayout layout(ctx.cuda->scratch(sizes.bytes() + workspace_bytes, "attention_forward"));
  CudnnAttentionData data;
  if (choice.shape.ragged) {
    const RaggedOffsets offsets = take_offsets(layout, choice.shape.documents);
    write_offsets(stream_of(ctx), offsets, choice.shape.documents,
                  address<const std::int32_t>(documents.cu_seqlens), call);
    data.lengths = offsets.lengths;
    data.qkv_offsets = offsets.qkv;
    data.out_offsets = offsets.out;
    data.stats_offsets = offsets.stats;
  }
  const HeadColumns columns(shape, 0);
  const bf16* const row = address<const bf16>(qkv);
  data.q = row + columns.q;
  data.k = row + columns.k;
  data.v = row + columns.v;
  data.out = address<bf16>(out);
  data.stats = address<float>(lse);
  choice.graph->run(data, layout.take<std::byte>(workspace_bytes), stream_of(ctx));
}

void attention_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dout, const Tensor& out,
                        const Tensor& lse, const Tensor& qkv, const Tensor& delta, const Documents& documents,
                        const QkvShape& shape, float scale) {
  const AttentionCall call = attention_call(qkv, documents, shape, scale);
  if (call.rows == 0) return;
  AttentionPlans& plans = ctx.cuda->attention();
  // How the forward left its statistics: cuDNN's over documents of one length are head by head.
  const bool exact = ctx.mode == NumericMode::kExact;
  const AttentionPlans::Choice forward = exact ? AttentionPlans::Choice{} : plans.forward(call);
  const bool by_head = forward.graph != nullptr && !forward.shape.ragged;
  SimpleAttention simple = simple_call(out, lse, qkv, documents, call);
  simple.dout = address<const bf16>(dout);
  simple.delta = address<float>(delta);
  simple.dqkv = address<bf16>(dqkv);
  simple.lse_length = by_head ? call.longest : 0;
  AttentionPlans::Choice choice = by_head ? plans.unordered_backward(call) : AttentionPlans::Choice{};
  if (choice.graph == nullptr && plans.hopper(shape) && hopper_backward_takes(simple)) {
    const std::size_t bytes = hopper_backward_scratch(call.rows, shape.num_heads);
    hopper_attention_backward(stream_of(ctx), simple, ctx.cuda->scratch(bytes, "attention_backward"));
    return;
  }
  if (choice.graph == nullptr && by_head) choice = plans.backward(call);
  if (choice.graph == nullptr) {
    simple_attention_backward(stream_of(ctx), simple);
    return;
  }
  RLCPP_CHECK(vectorisable(shape.head_dim, {qkv.raw(), out.raw(), lse.raw(), dout.raw(), dqkv.raw()}));
  void* const workspace =
      ctx.cuda->scratch(static_cast<std::size_t>(choice.graph->workspace_bytes()), "attention_backward");
  for (std::int64_t document = 0; document < call.documents; document += choice.shape.documents) {
    for (std::int64_t kv_head = 0; kv_head < shape.num_kv_heads; kv_head += choice.shape.kv_heads) {
      const HeadColumns columns(shape, kv_head);
      const std::int64_t row = document * call.longest;
      const bf16* const from = address<const bf16>(qkv) + row * shape.width();
      bf16* const to = address<bf16>(dqkv) + row * shape.width();
      const std::int64_t out_at = row * shape.num_heads * shape.head_dim + columns.q;
      CudnnAttentionData data;
      data.q = from + columns.q;
      data.k = from + columns.k;
      data.v = from + columns.v;
      data.dq = to + columns.q;
      data.dk = to + columns.k;
      data.dv = to + columns.v;
      data.out = address<bf16>(out) + out_at;
      data.dout = address<const bf16>(dout) + out_at;
      const std::int64_t head = kv_head * (shape.num_heads / shape.num_kv_heads);
      data.stats = address<float>(lse) + (document * shape.num_heads + head) * call.longest;
      choice.graph->run(data, workspace, stream_of(ctx));
    }
  }
}

}  // namespace rlcpp::ops::cuda
