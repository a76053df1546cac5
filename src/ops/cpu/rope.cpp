#include "ops/cpu/rope.h"

#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kRopeBlock = 64;  // rows whose norm-weight gradients are summed apart

const float* data_or_null(const Tensor& t) {
  return t.empty() ? nullptr : t.f32();
}

RopeArgs common_args(const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                     const QkvShape& shape, float eps) {
  RopeArgs args;
  args.shape = {0, shape.width(), shape.num_heads, shape.num_kv_heads, shape.head_dim};
  args.q_norm = data_or_null(q_norm);
  args.k_norm = data_or_null(k_norm);
  args.cos = cos.f32();
  args.sin = sin.f32();
  args.eps = eps;
  return args;
}

}  // namespace

void qk_norm_rope_forward(const Context& ctx, const Tensor& out, const Tensor& rstd, const Tensor& qkv,
                          const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                          const Tensor& positions, const QkvShape& shape, float eps) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t rotated = shape.num_heads + shape.num_kv_heads;
  const RopeArgs common = common_args(q_norm, k_norm, cos, sin, shape, eps);
  parallel_blocks(ctx, qkv.dim(0), kRopeBlock, 3.0 * static_cast<double>(qkv.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    RopeArgs args = common;
                    args.shape.rows = count;
                    args.qkv = qkv.f32() + r * shape.width();
                    args.out = out.f32() + r * shape.width();
                    args.rstd = common.q_norm != nullptr ? rstd.f32() + r * rotated : nullptr;
                    args.positions = positions.i32() + r;
                    kernels.qk_norm_rope(args);
                  });
}

void qk_norm_rope_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dq_norm,
                           const Tensor& dk_norm, const Tensor& dout, const Tensor& qkv, const Tensor& rstd,
                           const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                           const Tensor& positions, const QkvShape& shape, float eps) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t rotated = shape.num_heads + shape.num_kv_heads;
  const std::int64_t dim = shape.head_dim;
  const std::int64_t blocks = blocks_of(dout.dim(0), kRopeBlock);
  const RopeArgs common = common_args(q_norm, k_norm, cos, sin, shape, eps);
  float* partial = thread_scratch(Scratch::kReduction, blocks * 2 * dim);
  std::fill_n(partial, blocks * 2 * dim, 0.0F);
  parallel_blocks(ctx, dout.dim(0), kRopeBlock, 5.0 * static_cast<double>(dout.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    RopeArgs args = common;
                    args.shape.rows = count;
                    args.qkv = common.q_norm != nullptr ? qkv.f32() + r * shape.width() : nullptr;
                    args.dout = dout.f32() + r * shape.width();
                    args.out = dqkv.f32() + r * shape.width();
                    args.rstd = common.q_norm != nullptr ? rstd.f32() + r * rotated : nullptr;
                    args.positions = positions.i32() + r;
                    args.dq_norm = dq_norm.empty() ? nullptr : partial + r / kRopeBlock * 2 * dim;
                    args.dk_norm = dk_norm.empty() ? nullptr : partial + r / kRopeBlock * 2 * dim + dim;
                    kernels.qk_norm_rope_backward(args);
                  });
  for (std::int64_t b = 0; b < blocks; ++b) {
    if (!dq_norm.empty()) kernels.add_to(dq_norm.f32(), partial + b * 2 * dim, dim);
    if (!dk_norm.empty()) kernels.add_to(dk_norm.f32(), partial + b * 2 * dim + dim, dim);
  }
}

}  // namespace rlcpp::ops::cpu
