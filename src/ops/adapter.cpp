#include "ops/adapter.h"

#include <cmath>

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/adapter.h"
#include "ops/cuda/adapter.h"
#include "ops/cuda/matmul.h"
#include "ops/matmul.h"

namespace rlcpp::ops {
namespace {

void check_blocks(const AdapterBlocks& blocks, std::int64_t outputs) {
  RLCPP_CHECK(blocks.targets > 0 && blocks.targets <= AdapterBlocks::kMost);
  std::int64_t end = 0;
  for (std::size_t i = 0; i < blocks.targets; ++i) {
    RLCPP_CHECK(blocks.block[i].row >= end && blocks.block[i].count > 0);
    end = blocks.block[i].row + blocks.block[i].count;
  }
  RLCPP_CHECK(end <= outputs);
}

void check_dropout(const Context& ctx, const Tensor& a, const Tensor& b, const Dropout& dropout) {
  RLCPP_CHECK(a.dtype() == ctx.compute_type() && b.dtype() == ctx.compute_type() && a.size() == b.size());
  RLCPP_CHECK(dropout.probability >= 0 && dropout.probability < 1);
}

}  // namespace

std::int64_t AdapterBlocks::rows() const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < targets; ++i) sum += block[i].count;
  return sum;
}

std::uint32_t Dropout::threshold() const {
  return static_cast<std::uint32_t>(std::floor(static_cast<double>(probability) * 0x1p32));
}

void adapter_expand(const Context& ctx, const Tensor& expanded, const Tensor& b, const AdapterBlocks& blocks,
                    float scale) {
  RLCPP_CHECK(expanded.rank() == 2 && b.rank() == 2);
  check_blocks(blocks, expanded.dim(0));
  const std::int64_t rank = b.dim(1), targets = static_cast<std::int64_t>(blocks.targets);
  RLCPP_CHECK(is_f32(b, {blocks.rows(), rank}));
  RLCPP_CHECK(is_compute(ctx, expanded, {expanded.dim(0), targets * rank}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        "adapter_expand",
        {expanded.dim(0), expanded.dim(1)},
        {expanded, b},
        0,
        bytes_of({expanded, b}),
        [=](const Context& c, const Call::Operands& t) { adapter_expand(c, t[0], t[1], blocks, scale); }};
  });
  if (ctx.on_gpu()) return cuda::adapter_expand(ctx, expanded, b, blocks, scale);
  cpu::adapter_expand(ctx, expanded, b, blocks, scale);
}

void adapter_collect(const Context& ctx, const Tensor& db, const Tensor& dexpanded,
                     const AdapterBlocks& blocks, float scale) {
  RLCPP_CHECK(dexpanded.rank() == 2 && db.rank() == 2);
  check_blocks(blocks, dexpanded.dim(0));
  const std::int64_t rank = db.dim(1), targets = static_cast<std::int64_t>(blocks.targets);
  RLCPP_CHECK(is_f32(db, {blocks.rows(), rank}) && is_f32(dexpanded, {dexpanded.dim(0), targets * rank}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        "adapter_collect",
        {dexpanded.dim(0), dexpanded.dim(1)},
        {db, dexpanded},
        0,
        bytes_of({db, db}),
        [=](const Context& c, const Call::Operands& t) { adapter_collect(c, t[0], t[1], blocks, scale); }};
  });
  if (ctx.on_gpu()) return cuda::adapter_collect(ctx, db, dexpanded, blocks, scale);
  cpu::adapter_collect(ctx, db, dexpanded, blocks, scale);
}

void adapted_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                     const Tensor& packed, const Tensor& bias, const Tensor& h, const Tensor& b) {
  RLCPP_CHECK(x.rank() == 2 && w.rank() == 2 && h.rank() == 2 && is_compute(ctx, y, {x.dim(0), w.dim(0)}));
  RLCPP_CHECK(is_compute(ctx, x, {x.dim(0), w.dim(1)}) && is_compute(ctx, w, {w.dim(0), w.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, h, {x.dim(0), h.dim(1)}) && is_compute(ctx, b, {w.dim(0), h.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"adapted_forward",
                {x.dim(0), w.dim(0), x.dim(1), h.dim(1)},
                {y, x, w, packed, bias, h, b},
                product_flops(x.dim(0), w.dim(0), x.dim(1) + h.dim(1)),
                bytes_of({y, x, w, bias, h, b}),
                [=](const Context& c, const Call::Operands& t) {
                  adapted_forward(c, t[0], t[1], t[2], t[3], t[4], t[5], t[6]);
                }};
  });
  if (ctx.on_gpu() && bias.empty() && cuda::adapted_forward(ctx, y, x, w, h, b)) return;
  linear_forward(ctx, y, x, w, packed, bias);
  linear_forward(ctx, y, h, b, {}, {}, true);
}

void adapted_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                            const Tensor& dh, const Tensor& a) {
  RLCPP_CHECK(dy.rank() == 2 && w.rank() == 2 && dh.rank() == 2 &&
              is_compute(ctx, dx, {dy.dim(0), w.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, dy, {dy.dim(0), w.dim(0)}) && is_compute(ctx, w, {w.dim(0), w.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, dh, {dy.dim(0), dh.dim(1)}) && is_compute(ctx, a, {dh.dim(1), w.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"adapted_backward_input",
                {dy.dim(0), w.dim(1), dy.dim(1), dh.dim(1)},
                {dx, dy, w, dh, a},
                product_flops(dy.dim(0), w.dim(1), dy.dim(1) + dh.dim(1)),
                bytes_of({dx, dy, w, dh, a}),
                [=](const Context& c, const Call::Operands& t) {
                  adapted_backward_input(c, t[0], t[1], t[2], t[3], t[4]);
                }};
  });
  if (ctx.on_gpu() && cuda::adapted_backward_input(ctx, dx, dy, w, dh, a)) return;
  linear_backward_input(ctx, dx, dy, w, false);
  linear_backward_input(ctx, dx, dh, a, true);
}

void dropout_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Dropout& dropout) {
  check_dropout(ctx, y, x, dropout);
  if (y.size() == 0) return;
  const LoggedCall logged(ctx, [&] {
    return Call{"dropout_forward",
                {x.size()},
                {y, x},
                0,
                bytes_of({y, x}),
                [=](const Context& c, const Call::Operands& t) { dropout_forward(c, t[0], t[1], dropout); }};
  });
  if (ctx.on_gpu()) return cuda::dropout_forward(ctx, y, x, dropout);
  cpu::dropout_forward(ctx, y, x, dropout);
}

void dropout_backward(const Context& ctx, const Tensor& dx, const Tensor& dy, const Dropout& dropout) {
  check_dropout(ctx, dx, dy, dropout);
  if (dx.size() == 0) return;
  const LoggedCall logged(ctx, [&] {
    return Call{"dropout_backward",
                {dx.size()},
                {dx, dy},
                0,
                bytes_of({dx, dx, dy}),
                [=](const Context& c, const Call::Operands& t) { dropout_backward(c, t[0], t[1], dropout); }};
  });
  if (ctx.on_gpu()) return cuda::dropout_backward(ctx, dx, dy, dropout);
  cpu::dropout_backward(ctx, dx, dy, dropout);
}

}  // namespace rlcpp::ops
