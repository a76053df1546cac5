#include "ops/matmul.h"

#include "ops/checks.h"
#include "ops/cpu/matmul.h"

namespace rlcpp::ops {

std::int64_t packed_weight_size(const Context& ctx, std::int64_t n, std::int64_t k) {
  require_cpu(ctx, "packed_weight_size");
  RLCPP_CHECK(n >= 0 && k >= 0);
  return cpu::packed_weight_size(n, k);
}

void pack_weight(const Context& ctx, const Tensor& packed, const Tensor& w) {
  require_cpu(ctx, "pack_weight");
  RLCPP_CHECK(w.rank() == 2 && w.dtype() == DType::kF32);
  RLCPP_CHECK(packed.dtype() == DType::kF32 && packed.size() == cpu::packed_weight_size(w.dim(0), w.dim(1)));
  cpu::pack_weight(ctx, packed, w);
}

void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& packed, const Tensor& bias, bool accumulate) {
  require_cpu(ctx, "linear_forward");
  RLCPP_CHECK(x.rank() == 2 && w.rank() == 2);
  RLCPP_CHECK(is_f32(w, {w.dim(0), x.dim(1)}) && is_f32(x, {x.dim(0), w.dim(1)}));
  RLCPP_CHECK(is_f32(y, {x.dim(0), w.dim(0)}));
  RLCPP_CHECK(packed.empty() || packed.size() == cpu::packed_weight_size(w.dim(0), w.dim(1)));
  RLCPP_CHECK(empty_or_f32(bias, {w.dim(0)}));
  cpu::linear_forward(ctx, y, x, w, packed, bias, accumulate);
}

void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate) {
  require_cpu(ctx, "linear_backward_input");
  RLCPP_CHECK(dy.rank() == 2 && w.rank() == 2);
  RLCPP_CHECK(is_f32(w, {dy.dim(1), w.dim(1)}) && is_f32(dy, {dy.dim(0), w.dim(0)}));
  RLCPP_CHECK(is_f32(dx, {dy.dim(0), w.dim(1)}));
  cpu::linear_backward_input(ctx, dx, dy, w, accumulate);
}

void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate) {
  require_cpu(ctx, "linear_backward_weight");
  RLCPP_CHECK(dy.rank() == 2 && x.rank() == 2);
  RLCPP_CHECK(is_f32(dy, {x.dim(0), dy.dim(1)}) && is_f32(x, {dy.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_f32(dw, {dy.dim(1), x.dim(1)}));
  cpu::linear_backward_weight(ctx, dw, dy, x, accumulate);
}

void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate) {
  require_cpu(ctx, "linear_backward_bias");
  RLCPP_CHECK(dy.rank() == 2);
  RLCPP_CHECK(is_f32(dy, {dy.dim(0), db.dim(0)}) && is_f32(db, {dy.dim(1)}));
  cpu::linear_backward_bias(ctx, db, dy, accumulate);
}

}  // namespace rlcpp::ops
