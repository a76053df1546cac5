#include "ops/cpu/muon.h"

#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kMuonBlock = 16384;

}  // namespace

void momentum(const Context& ctx, const Tensor& m, const Tensor& g, double beta, float factor) {
  const auto share = static_cast<float>(beta);
  parallel_blocks(ctx, m.size(), kMuonBlock, 2.0 * static_cast<double>(m.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    float* moments = m.f32() + begin;
                    const float* gradients = g.f32() + begin;
                    for (std::int64_t i = 0; i < count; ++i)
                      moments[i] = share * moments[i] + factor * gradients[i];
                  });
}

void scaled_matrix(const Context& ctx, const Tensor& x, const Tensor& m, double factor, bool transpose) {
  const auto by = static_cast<float>(factor);
  const std::int64_t rows = m.dim(0), columns = m.dim(1);
  parallel_blocks(ctx, x.size(), kMuonBlock, static_cast<double>(x.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    const float* from = m.f32();
                    float* to = x.f32();
                    for (std::int64_t e = begin; e < begin + count; ++e)
                      to[e] = by * (transpose ? from[e % rows * columns + e / rows] : from[e]);
                  });
}

void matrix_polynomial(const Context& ctx, const Tensor& out, const Tensor& p, const Tensor& q, double a,
                       double b, double c) {
  const auto of_one = static_cast<float>(a), of_p = static_cast<float>(b), of_q = static_cast<float>(c);
  const std::int64_t n = out.dim(0);
  parallel_blocks(ctx, out.size(), kMuonBlock, static_cast<double>(out.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    for (std::int64_t e = begin; e < begin + count; ++e) {
                      const float sum = of_p * p.f32()[e] + of_q * q.f32()[e];
                      out.f32()[e] = e / n == e % n ? sum + of_one : sum;
                    }
                  });
}

void apply_direction(const Context& ctx, const Tensor& w, const Tensor& x, const DirectionStep& step) {
  const auto keep = static_cast<float>(step.keep), rate = static_cast<float>(step.rate);
  const std::int64_t rows = x.size() / step.columns;
  parallel_blocks(ctx, w.size(), kMuonBlock, static_cast<double>(w.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    const float* directions = x.f32();
                    for (std::int64_t i = begin; i < begin + count; ++i) {
                      const std::int64_t e = step.first + i;
                      const std::int64_t at = step.transpose ? e % step.columns * rows + e / step.columns : e;
                      w.f32()[i] = keep * w.f32()[i] - rate * directions[at];
                    }
                  });
}

}  // namespace rlcpp::ops::cpu
