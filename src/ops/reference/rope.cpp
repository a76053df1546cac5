#include "ops/reference/rope.h"

#include "ops/reference/norm.h"

namespace rlcpp::ops::reference {
namespace {

// x of one head, rotated by the angle of `position`; sign -1 rotates back.
void rotate(const RopeCase& c, Doubles& x, std::int32_t position, double sign) {
  const std::int64_t half = c.shape.head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const double cos = c.cos[position * half + i];
    const double sin = sign * c.sin[position * half + i];
    const double a = x[i];
    const double b = x[i + half];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
}

Doubles head_of(const Doubles& rows, std::int64_t begin, std::int64_t dim) {
  return {rows.begin() + begin, rows.begin() + begin + dim};
}

}  // namespace

Doubles qk_norm_rope_forward(const RopeCase& c, const Doubles& qkv) {
  const std::int64_t dim = c.shape.head_dim;
  Doubles out = qkv;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    for (std::int64_t head = 0; head < c.shape.num_heads + c.shape.num_kv_heads; ++head) {
      const std::int64_t begin = r * c.shape.width() + head * dim;
      const Doubles& w = head < c.shape.num_heads ? c.q_norm : c.k_norm;
      Doubles x = head_of(qkv, begin, dim);
      if (!w.empty()) x = rmsnorm_forward(x, w, 1, dim, c.eps);
      rotate(c, x, c.positions[r], 1);
      for (std::int64_t i = 0; i < dim; ++i) out[begin + i] = x[i];
    }
  }
  return out;
}

RopeGradient qk_norm_rope_backward(const RopeCase& c, const Doubles& dout, const Doubles& qkv) {
  const std::int64_t dim = c.shape.head_dim;
  RopeGradient g = {dout, Doubles(dim), Doubles(dim)};
  for (std::int64_t r = 0; r < c.rows; ++r) {
    for (std::int64_t head = 0; head < c.shape.num_heads + c.shape.num_kv_heads; ++head) {
      const std::int64_t begin = r * c.shape.width() + head * dim;
      const bool is_q = head < c.shape.num_heads;
      const Doubles& w = is_q ? c.q_norm : c.k_norm;
      Doubles d = head_of(dout, begin, dim);
      rotate(c, d, c.positions[r], -1);
      if (!w.empty()) {
        const NormGradient norm = rmsnorm_backward(d, head_of(qkv, begin, dim), w, 1, dim, c.eps);
        d = norm.dx;
        for (std::int64_t i = 0; i < dim; ++i) (is_q ? g.dq_norm : g.dk_norm)[i] += norm.dw[i];
      }
      for (std::int64_t i = 0; i < dim; ++i) g.dqkv[begin + i] = d[i];
    }
  }
  return g;
}

}  // namespace rlcpp::ops::reference
