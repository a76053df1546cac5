#include "ops/muon.h"

#include "ops/ops_support.h"

namespace rlcpp::test {
namespace {

using MuonParts = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, MuonParts, every_device(), device_name);

double relative(const ops::Context& ctx) {
  return ctx.compute_type() == DType::kBF16 ? 1.0 / 128 : 1e-6;
}

TEST_P(MuonParts, MomentumIsASumOfTwoParts) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 33, 40001}) {
    Floats m = random.normal(n), g = random.normal(n);
    const Floats before = m;
    ops::momentum(ctx, f32(ctx, m, {n}), f32(ctx, g, {n}), 0.95, 0.7F);
    for (std::size_t i = 0; i < m.size(); ++i)
      ASSERT_NEAR(m[i], 0.95 * before[i] + 0.7 * g[i], 1e-6 * (std::abs(before[i]) + std::abs(g[i])));
  }
}

TEST_P(MuonParts, ScaledMatrixIsTheMatrixOrItsTranspose) {
  Random random;
  const ops::Context ctx = context();
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 70}, {130, 17}}) {
    for (const bool transpose : {false, true}) {
      Floats m = random.normal(rows * columns), x = poisoned(rows * columns);
      if (transpose) {
        ops::scaled_matrix(ctx, on(ctx, x, {columns, rows}), f32(ctx, m, {rows, columns}), 0.3, true);
      } else {
        ops::scaled_matrix(ctx, on(ctx, x, {rows, columns}), f32(ctx, m, {rows, columns}), 0.3, false);
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const double expected = 0.3 * static_cast<double>(m[static_cast<std::size_t>(i * columns + j)]);
          const auto at = static_cast<std::size_t>(transpose ? j * rows + i : i * columns + j);
          ASSERT_NEAR(x[at], expected, relative(ctx) * std::abs(expected));
        }
      }
    }
  }
}

TEST_P(MuonParts, PolynomialAddsTheUnitMatrix) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 9, 130}) {
    Floats p = rounded(ctx, random.normal(n * n)), q = rounded(ctx, random.normal(n * n)),
           out = poisoned(n * n);
    ops::matrix_polynomial(ctx, on(ctx, out, {n, n}), on(ctx, p, {n, n}), on(ctx, q, {n, n}), 3.4445, -4.775,
                           2.0315);
    for (std::int64_t e = 0; e < n * n; ++e) {
      const auto i = static_cast<std::size_t>(e);
      const double one = e / n == e % n ? 3.4445 : 0.0;
      const double expected = one - 4.775 * static_cast<double>(p[i]) + 2.0315 * static_cast<double>(q[i]);
      const double size = 1 + one + 4.775 * std::abs(p[i]) + 2.0315 * std::abs(q[i]);
      ASSERT_NEAR(out[i], expected, relative(ctx) * size);
    }
  }
}

TEST_P(MuonParts, DirectionOfAPartOfAMatrix) {
  Random random;
  const ops::Context ctx = context();
  const std::int64_t rows = 21, columns = 37;
  for (const bool transpose : {false, true}) {
    for (const auto& [first, count] :
         {std::pair<std::int64_t, std::int64_t>{0, rows * columns}, {5, 100}, {700, 77}}) {
      Floats w = random.normal(count), x = rounded(ctx, random.normal(rows * columns));
      const Floats before = w;
      const ops::DirectionStep step{0.9, 0.25, first, columns, transpose};
      if (transpose) {
        ops::apply_direction(ctx, f32(ctx, w, {count}), on(ctx, x, {columns, rows}), step);
      } else {
        ops::apply_direction(ctx, f32(ctx, w, {count}), on(ctx, x, {rows, columns}), step);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t e = first + i;
        const auto at = static_cast<std::size_t>(transpose ? e % columns * rows + e / columns : e);
        const auto k = static_cast<std::size_t>(i);
        ASSERT_NEAR(w[k], 0.9 * before[k] - 0.25 * x[at], 1e-6 * (std::abs(before[k]) + std::abs(x[at])));
      }
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
