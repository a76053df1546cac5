#include "ops/rope.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/rope.h"
#include "ops/cuda/rope.h"

namespace rlcpp::ops {
namespace {

constexpr std::int64_t kMaxHeadDim = 512;

void check_common(const Context& ctx, const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos,
                  const Tensor& sin, const Tensor& positions, std::int64_t rows, const QkvShape& shape) {
  RLCPP_CHECK(shape.num_heads > 0 && shape.num_kv_heads > 0 && shape.num_heads % shape.num_kv_heads == 0);
  RLCPP_CHECK(shape.head_dim > 0 && shape.head_dim % 2 == 0 && shape.head_dim <= kMaxHeadDim);
  RLCPP_CHECK(empty_or_compute(ctx, q_norm, {shape.head_dim}) &&
              empty_or_compute(ctx, k_norm, {shape.head_dim}));
  RLCPP_CHECK(q_norm.empty() == k_norm.empty());
  RLCPP_CHECK(cos.rank() == 2 && is_f32(cos, {cos.dim(0), shape.head_dim / 2}));
  RLCPP_CHECK(is_f32(sin, {cos.dim(0), shape.head_dim / 2}));
  RLCPP_CHECK(is_i32(positions, {rows}));
  if (ctx.on_gpu()) return;
  for (const std::int32_t position : positions.i32_span())
    RLCPP_CHECK(position >= 0 && position < cos.dim(0));
}

}  // namespace

void qk_norm_rope_forward(const Context& ctx, const Tensor& out, const Tensor& rstd, const Tensor& qkv,
                          const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                          const Tensor& positions, const QkvShape& shape, float eps) {
  const std::int64_t rows = qkv.dim(0);
  check_common(ctx, q_norm, k_norm, cos, sin, positions, rows, shape);
  RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}) && is_compute(ctx, out, {rows, shape.width()}));
  RLCPP_CHECK(q_norm.empty() || is_f32(rstd, {rows, shape.num_heads + shape.num_kv_heads}));
  const LoggedCall logged(ctx, [&] {
    return Call{"qk_norm_rope_forward",
                {rows, shape.num_heads, shape.num_kv_heads, shape.head_dim},
                {out, rstd, qkv, q_norm, k_norm, cos, sin, positions},
                0,
                bytes_of({out, rstd, qkv, positions}),
                [=](const Context& c, const Call::Operands& t) {
                  qk_norm_rope_forward(c, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], shape, eps);
                }};
  });
  if (ctx.on_gpu())
    return cuda::qk_norm_rope_forward(ctx, out, rstd, qkv, q_norm, k_norm, cos, sin, positions, shape, eps);
  cpu::qk_norm_rope_forward(ctx, out, rstd, qkv, q_norm, k_norm, cos, sin, positions, shape, eps);
}

void qk_norm_rope_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dq_norm,
                           const Tensor& dk_norm, const Tensor& dout, const Tensor& qkv, const Tensor& rstd,
                           const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                           const Tensor& positions, const QkvShape& shape, float eps) {
  const std::int64_t rows = dout.dim(0);
  check_common(ctx, q_norm, k_norm, cos, sin, positions, rows, shape);
  RLCPP_CHECK(is_compute(ctx, dout, {rows, shape.width()}) && is_compute(ctx, dqkv, {rows, shape.width()}));
  RLCPP_CHECK(empty_or_f32(dq_norm, {shape.head_dim}) && empty_or_f32(dk_norm, {shape.head_dim}));
  if (!q_norm.empty()) {
    RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}));
    RLCPP_CHECK(is_f32(rstd, {rows, shape.num_heads + shape.num_kv_heads}));
  }
  const LoggedCall logged(ctx, [&] {
    return Call{"qk_norm_rope_backward",
                {rows, shape.num_heads, shape.num_kv_heads, shape.head_dim},
                {dqkv, dq_norm, dk_norm, dout, qkv, rstd, q_norm, k_norm, cos, sin, positions},
                0,
                bytes_of({dqkv, dout, q_norm.empty() ? Tensor() : qkv, rstd, positions}),
                [=](const Context& c, const Call::Operands& t) {
                  qk_norm_rope_backward(c, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10],
                                        shape, eps);
                }};
  });
  if (ctx.on_gpu())
    return cuda::qk_norm_rope_backward(ctx, dqkv, dq_norm, dk_norm, dout, qkv, rstd, q_norm, k_norm, cos, sin,
                                       positions, shape, eps);
  cpu::qk_norm_rope_backward(ctx, dqkv, dq_norm, dk_norm, dout, qkv, rstd, q_norm, k_norm, cos, sin,
                             positions, shape, eps);
}

}  // namespace rlcpp::ops
