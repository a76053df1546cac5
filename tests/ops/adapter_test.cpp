#include "ops/adapter.h"

#include <fmt/format.h>

#include "ops/matmul.h"
#include "ops/ops_support.h"
#include "ops/reference/matmul.h"

namespace rlcpp::test {
namespace {

using ops::AdapterBlocks;
using Adapter = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Adapter, every_device(), device_name);

struct Case {
  std::int64_t outputs, rank;
  AdapterBlocks blocks;
};

AdapterBlocks blocks_of(std::initializer_list<AdapterBlocks::Block> list) {
  AdapterBlocks out;
  for (const AdapterBlocks::Block& block : list) out.block[out.targets++] = block;
  return out;
}

// Whole products, gaps between, before and behind targets, and sizes that fill no vector.
std::vector<Case> cases() {
  return {{64, 16, blocks_of({{0, 32}, {32, 16}, {48, 16}})},
          {37, 3, blocks_of({{1, 5}, {20, 17}})},
          {11, 1, blocks_of({{0, 11}})},
          {300, 8, blocks_of({{100, 7}})},
          {4096, 16, blocks_of({{0, 2048}, {3072, 1024}})}};
}

TEST_P(Adapter, ExpandPutsEachTargetInItsBlock) {
  const ops::Context ctx = context();
  for (const Case& c : cases()) {
    Random random;
    const std::int64_t width = static_cast<std::int64_t>(c.blocks.targets) * c.rank, rows = c.blocks.rows();
    Floats b = random.normal(rows * c.rank);
    Floats expanded = poisoned(c.outputs * width);
    const float scale = 0.7F + random.uniform();
    ops::adapter_expand(ctx, on(ctx, expanded, {c.outputs, width}), f32(ctx, b, {rows, c.rank}), c.blocks,
                        scale);
    Floats wanted(expanded.size(), 0.0F);
    std::int64_t from = 0;
    for (std::size_t t = 0; t < c.blocks.targets; ++t) {
      for (std::int64_t r = 0; r < c.blocks.block[t].count; ++r, ++from) {
        for (std::int64_t k = 0; k < c.rank; ++k) {
          wanted[static_cast<std::size_t>((c.blocks.block[t].row + r) * width +
                                          static_cast<std::int64_t>(t) * c.rank + k)] =
              scale * b[static_cast<std::size_t>(from * c.rank + k)];
        }
      }
    }
    expect_same_bits(expanded, rounded(ctx, wanted), "expanded B");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Adapter, CollectIsTheTransposeOfExpand) {
  const ops::Context ctx = context();
  for (const Case& c : cases()) {
    Random random;
    const std::int64_t width = static_cast<std::int64_t>(c.blocks.targets) * c.rank, rows = c.blocks.rows();
    Floats expanded = random.normal(c.outputs * width);
    Floats wanted(static_cast<std::size_t>(rows * c.rank));
    Floats db = poisoned(rows * c.rank);
    const float scale = 0.7F + random.uniform();
    std::vector<bool> read(expanded.size(), false);
    std::int64_t from = 0;
    for (std::size_t t = 0; t < c.blocks.targets; ++t) {
      for (std::int64_t r = 0; r < c.blocks.block[t].count; ++r, ++from) {
        for (std::int64_t k = 0; k < c.rank; ++k) {
          const auto at = static_cast<std::size_t>((c.blocks.block[t].row + r) * width +
                                                   static_cast<std::int64_t>(t) * c.rank + k);
          read[at] = true;
          wanted[static_cast<std::size_t>(from * c.rank + k)] = scale * expanded[at];
        }
      }
    }
    // What is no parameter is not read.
    for (std::size_t i = 0; i < expanded.size(); ++i) {
      if (!read[i]) expanded[i] = std::numeric_limits<float>::quiet_NaN();
    }
    ops::adapter_collect(ctx, f32(ctx, db, {rows, c.rank}), f32(ctx, expanded, {c.outputs, width}), c.blocks,
                         scale);
    expect_same_bits(db, wanted, "gradient of B");
    if (HasFatalFailure()) return;
  }
}

// y = x W^T + scale (x A^T) B^T with every rounding of the device allowed for, against float64.
TEST_P(Adapter, AnAdaptedProductAgreesWithFloat64) {
  const ops::Context ctx = context();
  for (const std::int64_t m : {1, 5, 130}) {
    Random random(ctx);
    const AdapterBlocks blocks = blocks_of({{0, 24}, {32, 40}});
    const std::int64_t n = 72, in = 48, rank = 8, width = 16, rows = blocks.rows();
    Floats x = random.normal(m * in), w = random.normal(n * in), a = random.normal(width * in);
    Floats b = random.normal(rows * rank), expanded = poisoned(n * width), h = poisoned(m * width),
           y = poisoned(m * n);
    const float scale = 2;
    ops::adapter_expand(ctx, on(ctx, expanded, {n, width}), f32(ctx, b, {rows, rank}), blocks, scale);
    ops::linear_forward(ctx, on(ctx, y, {m, n}), on(ctx, x, {m, in}), on(ctx, w, {n, in}), {}, {});
    ops::linear_forward(ctx, on(ctx, h, {m, width}), on(ctx, x, {m, in}), on(ctx, a, {width, in}), {}, {});
    ops::linear_forward(ctx, on(ctx, y, {m, n}), on(ctx, h, {m, width}), on(ctx, expanded, {n, width}), {},
                        {}, true);
    const auto at = [](const Floats& values, std::int64_t i) {
      return static_cast<double>(values[static_cast<std::size_t>(i)]);
    };
    double worst = 0, largest = 1;
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double wanted = 0;
        for (std::int64_t k = 0; k < in; ++k) wanted += at(x, i * in + k) * at(w, j * in + k);
        std::int64_t from = 0;
        for (std::size_t t = 0; t < blocks.targets; ++t) {
          const std::int64_t inside = j - blocks.block[t].row;
          if (inside >= 0 && inside < blocks.block[t].count) {
            for (std::int64_t r = 0; r < rank; ++r) {
              double projected = 0;
              for (std::int64_t k = 0; k < in; ++k) {
                projected += at(x, i * in + k) * at(a, (static_cast<std::int64_t>(t) * rank + r) * in + k);
              }
              wanted += 2 * projected * at(b, (from + inside) * rank + r);
            }
          }
          from += blocks.block[t].count;
        }
        worst = std::max(worst, std::abs(at(y, i * n + j) - wanted));
        largest = std::max(largest, std::abs(wanted));
      }
    }
    EXPECT_LE(worst, (ctx.on_gpu() ? 1.5e-2 : 4e-6) * largest) << m;
  }
}

// A product and its adapter in one call, both ways, against float64: several tiles of a GPU's kernel with
// parts outside, adapters of more columns than one of its steps, and widths that it leaves to two products.
TEST_P(Adapter, ProductsWithAdaptersAgreeWithFloat64) {
  const ops::Context ctx = context();
  Random random(ctx);
  struct Sizes {
    std::int64_t m, n, k, r;
  };
  const std::int64_t rows = random.between(257, 400);
  for (const Sizes& s :
       {Sizes{rows, 520, 72, 16}, Sizes{rows, 264, 328, 48}, Sizes{1, 8, 8, 8}, Sizes{129, 600, 64, 136},
        Sizes{65, 256, 130, 16}, Sizes{40, 31, 64, 3}, Sizes{rows, 64, 512, 32}}) {
    Floats x = random.normal(s.m * s.k), w = random.normal(s.n * s.k), h = random.normal(s.m * s.r);
    Floats b = random.normal(s.n * s.r), a = random.normal(s.r * s.k), dy = random.normal(s.m * s.n);
    Floats bias = random.normal(s.n);
    const auto sum = [](Doubles left, const Doubles& right) {
      for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
      return left;
    };
    const std::string what = fmt::format("m {} n {} k {} r {}", s.m, s.n, s.k, s.r);
    for (const bool biased : {false, true}) {
      Floats y = poisoned(s.m * s.n);
      ops::adapted_forward(ctx, on(ctx, y, {s.m, s.n}), on(ctx, x, {s.m, s.k}), on(ctx, w, {s.n, s.k}), {},
                           biased ? on(ctx, bias, {s.n}).tensor() : Tensor(), on(ctx, h, {s.m, s.r}),
                           on(ctx, b, {s.n, s.r}));
      const Doubles first = ops::reference::linear_forward(
          to_double(x), to_double(w), biased ? to_double(bias) : Doubles(), s.m, s.n, s.k);
      const Doubles second = ops::reference::linear_forward(to_double(h), to_double(b), {}, s.m, s.n, s.r);
      expect_close(y, sum(first, second), tolerance(ctx, 4e-6, kHalfUlpBf16),
                   what + (biased ? ", biased" : ""));
    }
    Floats dx = poisoned(s.m * s.k);
    ops::adapted_backward_input(ctx, on(ctx, dx, {s.m, s.k}), on(ctx, dy, {s.m, s.n}), on(ctx, w, {s.n, s.k}),
                                on(ctx, h, {s.m, s.r}), on(ctx, a, {s.r, s.k}));
    const Doubles first = ops::reference::linear_backward_input(to_double(dy), to_double(w), s.m, s.n, s.k);
    const Doubles second = ops::reference::linear_backward_input(to_double(h), to_double(a), s.m, s.r, s.k);
    expect_close(dx, sum(first, second), tolerance(ctx, 4e-6, kHalfUlpBf16), what + ", backward");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Adapter, DropoutDrawsByThePlaceAlone) {
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 7, 4096, 100003}) {
    Random random(ctx);
    Floats x = random.normal(n, 1.0F, 5.0F), y = poisoned(n), dy = random.normal(n), dx = random.normal(n);
    const ops::Dropout draw{0.25F, 11, 13};
    const Floats before = dx;
    ops::dropout_forward(ctx, on(ctx, y, {n}), on(ctx, x, {n}), draw);
    ops::dropout_backward(ctx, on(ctx, dx, {n}), on(ctx, dy, {n}), draw);
    Floats wanted(y.size()), wanted_dx = before;
    std::int64_t dropped = 0;
    const float scale = 1.0F / 0.75F;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const bool kept = philox4x32(i / 4, 13, 11)[i % 4] >= std::uint32_t{1} << 30;
      dropped += kept ? 0 : 1;
      wanted[i] = kept ? scale * x[i] : 0.0F;
      if (kept) wanted_dx[i] = before[i] + scale * dy[i];
    }
    expect_same_bits(y, rounded(ctx, wanted), "dropout");
    // On a GPU product and sum may be fused before the one rounding.
    for (std::size_t i = 0; i < dx.size(); ++i) {
      ASSERT_NEAR(dx[i], wanted_dx[i], (ctx.on_gpu() ? 8e-3F : 0.0F) * (1 + std::abs(wanted_dx[i]))) << i;
    }
    if (n > 50000) {
      EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(n), 0.25, 0.01);
    }
    // Nothing is dropped with probability 0, and y may be x.
    Floats same = x;
    {
      const Mirror both = on(ctx, same, {n});
      ops::dropout_forward(ctx, both, both, {});
    }
    expect_same_bits(same, x, "no dropout");
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rlcpp::test
