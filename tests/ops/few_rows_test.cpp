// The operations of a few rows that decode, which only GPUs from Hopper on have: against the float64
// reference, and against the operations that they stand for.
#include "ops/few_rows.h"

#include <cmath>
#include <numeric>

#include "ops/norm.h"
#include "ops/ops_support.h"
#include "ops/reference/matmul.h"
#include "ops/reference/norm.h"
#include "ops/reference/swiglu.h"
#include "ops/swiglu.h"

namespace rlcpp::test {
namespace {

using FewRows = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, FewRows, a_gpu(), device_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FewRows);

constexpr float kEps = 1e-6F;

bool has_them(const ops::Context& ctx) {
  return ops::takes_few_rows(ctx, {1024, 3072, {16, 8, 128}, 16}, 1);
}

struct Product {
  std::int64_t m, n, k;
};
// One tile of rows and two, weights that fill a GPU and that do not, that fit registers at once and that do
// not, K of no whole number of rounds a warp.
std::vector<Product> products(Random& random) {
  return {{1, 2144, 288}, {8, 160, 3072},
          {9, 2144, 96},  {16, 64, 4128},
          {7, 32, 8256},  {3, 16, 32},
          {5, 48, 96},    {random.between(1, 16), 16 * random.between(1, 20), 32 * random.between(1, 70)}};
}
std::string text(const Product& p) {
  return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k);
}

// Values as they are after a rounding to bf16.
Doubles rounded_doubles(Doubles values) {
  for (double& value : values) value = round_to_bf16(static_cast<float>(value));
  return values;
}

TEST_P(FewRows, ProductsAgreeWithTheReference) {
  const ops::Context ctx = context();
  if (!has_them(ctx)) GTEST_SKIP() << "this GPU has no such kernels";
  Random random(ctx);
  for (const Product& p : products(random)) {
    for (const bool biased : {false, true}) {
      Floats x = random.normal(p.m * p.k),
             w = random.normal(p.n * p.k, 0.5F / std::sqrt(static_cast<float>(p.k)));
      Floats gain = random.gains(p.k), bias = random.normal(p.n);
      Floats* const of_bias = biased ? &bias : nullptr;
      const Doubles bias_d = biased ? to_double(bias) : Doubles();
      const Doubles norm =
          rounded_doubles(ops::reference::rmsnorm_forward(to_double(x), to_double(gain), p.m, p.k, kEps));
      // A sum in f32 may round an input of the product the other way than float64 does.
      const Tolerance close = tolerance(ctx, 1e-5, 2e-3);

      Floats y = poisoned(p.m * p.n);
      ops::norm_linear_few(ctx, on(ctx, y, {p.m, p.n}), on(ctx, x, {p.m, p.k}), on(ctx, gain, {p.k}), kEps,
                           on(ctx, w, {p.n, p.k}), on(ctx, of_bias, {p.n}));
      const Doubles product = ops::reference::linear_forward(norm, to_double(w), bias_d, p.m, p.n, p.k);
      expect_close(y, product, close, "norm_linear_few " + text(p));

      Floats z = poisoned(p.m * p.n / 2);
      ops::norm_linear_swiglu_few(ctx, on(ctx, z, {p.m, p.n / 2}), on(ctx, x, {p.m, p.k}),
                                  on(ctx, gain, {p.k}), kEps, on(ctx, w, {p.n, p.k}),
                                  on(ctx, of_bias, {p.n}));
      expect_close(z, ops::reference::swiglu_forward(rounded_doubles(product), p.m, p.n / 2),
                   tolerance(ctx, 1e-5, 1e-2), "norm_linear_swiglu_few " + text(p));
      // Of the rounded outputs, as the operations apart.
      if (p.n % 32 == 0) {
        Floats apart = poisoned(p.m * p.n / 2);
        ops::swiglu_forward(ctx, on(ctx, apart, {p.m, p.n / 2}), on(ctx, y, {p.m, p.n}));
        expect_close(z, to_double(apart), Tolerance{1e-3, kHalfUlpBf16}, "SwiGLU apart " + text(p));
      }

      Floats residual = random.normal(p.m * p.n);
      Doubles sum = ops::reference::linear_forward(to_double(x), to_double(w), bias_d, p.m, p.n, p.k);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += residual[i];
      ops::linear_add_few(ctx, on(ctx, residual, {p.m, p.n}), on(ctx, x, {p.m, p.k}), on(ctx, w, {p.n, p.k}),
                          on(ctx, of_bias, {p.n}));
      expect_close(residual, sum, tolerance(ctx, 1e-5, 4e-3), "linear_add_few " + text(p));
      if (HasFatalFailure()) return;
    }
  }
}

// Sequences of random lengths, each with all its keys but the last in shuffled pages full of NaN.
struct Decode {
  ops::QkvShape shape;
  std::int64_t page_size, rows, max_pages, num_pages;
  Ints cu_seqlens{0}, positions, slots, sequence_of, tables;  // of the last rows
  Ints all_positions, all_slots;
  Floats qkv, q_norm, k_norm, cos, sin;
  Floats roped;         // of all rows, by qk_norm_rope_forward
  Floats last;          // the last rows of qkv
  Floats k, v;          // pages with every row
  Floats few_k, few_v;  // without the last of each sequence

  Decode(const ops::Context& ctx, Random& random, const ops::QkvShape& s, std::int64_t page, bool norms,
         const std::vector<std::int64_t>& lengths)
      : shape(s), page_size(page), rows(static_cast<std::int64_t>(lengths.size())) {
    const std::int64_t longest = *std::ranges::max_element(lengths), d = shape.head_dim;
    max_pages = (longest + page_size - 1) / page_size + 1;
    num_pages = rows * max_pages + 2;
    Ints order(num_pages);
    std::iota(order.begin(), order.end(), 0);
    shuffle(order, random.rng());
    tables.assign(order.begin(), order.begin() + rows * max_pages);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int32_t p = 0; p < lengths[i]; ++p) {
        all_positions.push_back(p);
        const auto slot = tables[i * max_pages + p / page_size] * page_size + p % page_size;
        all_slots.push_back(static_cast<std::int32_t>(slot));
      }
      cu_seqlens.push_back(static_cast<std::int32_t>(all_positions.size()));
      positions.push_back(all_positions.back());
      slots.push_back(all_slots.back());
      sequence_of.push_back(static_cast<std::int32_t>(i));
    }
    const std::int64_t all = cu_seqlens.back(), width = shape.width();
    qkv = random.normal(all * width);
    if (norms) {
      q_norm = random.gains(d);
      k_norm = random.gains(d);
    }
    for (std::int64_t i = 0; i < longest * d / 2; ++i) {
      const float angle = 6.3F * random.uniform();
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
    roped = poisoned(all * width);
    Floats rstd = poisoned(all * (shape.num_heads + shape.num_kv_heads));
    const auto positions_of = static_cast<std::int64_t>(cos.size()) / (d / 2);
    ops::qk_norm_rope_forward(ctx, on(ctx, roped, {all, width}),
                              f32(ctx, norms ? &rstd : nullptr, {all, shape.num_heads + shape.num_kv_heads}),
                              on(ctx, qkv, {all, width}), on(ctx, gain(q_norm), {d}),
                              on(ctx, gain(k_norm), {d}), f32(ctx, cos, {positions_of, d / 2}),
                              f32(ctx, sin, {positions_of, d / 2}), i32(ctx, all_positions, {all}), shape,
                              kEps);
    k = few_k = poisoned(num_pages * page_size * shape.num_kv_heads * d);
    v = few_v = k;
    write(ctx, k, v, roped, all_slots);
    Floats before;
    Ints slots_before;
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t begin = cu_seqlens[i], end = cu_seqlens[i + 1] - 1;
      before.insert(before.end(), roped.begin() + begin * width, roped.begin() + end * width);
      slots_before.insert(slots_before.end(), all_slots.begin() + begin, all_slots.begin() + end);
      last.insert(last.end(), qkv.begin() + end * width, qkv.begin() + (end + 1) * width);
    }
    if (!slots_before.empty()) write(ctx, few_k, few_v, before, slots_before);
  }
  static Floats* gain(Floats& values) { return values.empty() ? nullptr : &values; }
  void write(const ops::Context& ctx, Floats& to_k, Floats& to_v, Floats& from, Ints& where) const {
    const auto count = static_cast<std::int64_t>(where.size());
    const Mirror of_k = on(ctx, to_k, {num_pages, page_size, shape.num_kv_heads, shape.head_dim});
    const Mirror of_v = on(ctx, to_v, {num_pages, page_size, shape.num_kv_heads, shape.head_dim});
    ops::kv_write(ctx, {of_k, of_v}, on(ctx, from, {count, shape.width()}), i32(ctx, where, {count}), shape);
  }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape.head_dim)); }

  Floats run(const ops::Context& ctx) {
    const std::int64_t d = shape.head_dim, of_tables = static_cast<std::int64_t>(cos.size()) / (d / 2);
    Floats out = poisoned(rows * shape.num_heads * d);
    const Mirror of_k = on(ctx, few_k, {num_pages, page_size, shape.num_kv_heads, d});
    const Mirror of_v = on(ctx, few_v, {num_pages, page_size, shape.num_kv_heads, d});
    ops::attention_few(
        ctx, on(ctx, out, {rows, shape.num_heads * d}), on(ctx, last, {rows, shape.width()}), {of_k, of_v},
        {on(ctx, gain(q_norm), {d}), on(ctx, gain(k_norm), {d}), kEps, f32(ctx, cos, {of_tables, d / 2}),
         f32(ctx, sin, {of_tables, d / 2}), i32(ctx, positions, {rows}), i32(ctx, slots, {rows}),
         i32(ctx, sequence_of, {rows}), i32(ctx, tables, {rows, max_pages}), scale()},
        shape);
    return out;
  }
};

// Float64: the last row of every document with all its keys.
Doubles last_rows(const Decode& c) {
  const std::int64_t d = c.shape.head_dim, width = c.shape.width(),
                     group = c.shape.num_heads / c.shape.num_kv_heads;
  Doubles out;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t begin = c.cu_seqlens[i], end = c.cu_seqlens[i + 1];
    for (std::int64_t head = 0; head < c.shape.num_heads; ++head) {
      const float* const q = c.roped.data() + (end - 1) * width + head * d;
      const std::int64_t of_k = (c.shape.num_heads + head / group) * d,
                         of_v = of_k + c.shape.num_kv_heads * d;
      Doubles weights, sum(d, 0.0);
      for (std::int64_t key = begin; key < end; ++key) {
        weights.push_back(std::inner_product(q, q + d, c.roped.data() + key * width + of_k, 0.0) * c.scale());
      }
      const double most = *std::ranges::max_element(weights);
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - most);
      for (std::int64_t key = begin; key < end; ++key) {
        for (std::int64_t j = 0; j < d; ++j)
          sum[j] += weights[key - begin] / total * c.roped[key * width + of_v + j];
      }
      out.insert(out.end(), sum.begin(), sum.end());
    }
  }
  return out;
}

TEST_P(FewRows, AttentionAgreesWithTheReference) {
  const ops::Context ctx = context();
  if (!has_them(ctx)) GTEST_SKIP() << "this GPU has no such kernels";
  Random random(ctx);
  const std::vector<ops::QkvShape> shapes = {{16, 8, 128}, {32, 8, 128}, {14, 2, 64},
                                             {9, 3, 64},   {8, 1, 128},  {2, 2, 64}};
  for (const ops::QkvShape& shape : shapes) {
    for (const bool norms : {false, true}) {
      std::vector<std::int64_t> lengths = {1, 2, 33, random.between(900, 1500), random.between(2, 300)};
      if (norms) lengths.assign(1, random.between(500, 3000));
      if (shape.num_heads == 16) {
        for (int i = 0; i < 10; ++i) lengths.push_back(random.between(1, 200));
      }
      Decode c(ctx, random, shape, norms ? 16 : 64, norms, lengths);
      const Floats clean_k = c.few_k, clean_v = c.few_v;
      const Floats out = c.run(ctx);
      const std::string where = std::to_string(shape.num_heads) + " heads of " +
                                std::to_string(shape.head_dim) + ", " + std::to_string(c.rows) + " rows" +
                                (norms ? ", norms" : "");
      // q and k of the row may be rounded the other way than by the operations apart.
      expect_close(out, last_rows(c), tolerance(ctx, 1e-5, 4e-3), where);
      // Its key and value are where they belong, and nothing else has changed.
      for (std::size_t i = 0; i < c.k.size(); ++i) {
        const bool written = std::isnan(clean_k[i]) && !std::isnan(c.k[i]);
        if (written) {
          ASSERT_NEAR(c.few_k[i], c.k[i], 0.02 * (1 + std::abs(c.k[i]))) << where << ", key element " << i;
          ASSERT_EQ(c.few_v[i], c.v[i]) << where << ", value element " << i;
        } else {
          ASSERT_EQ(std::memcmp(&c.few_k[i], &clean_k[i], sizeof(float)), 0)
              << where << ", key element " << i;
          ASSERT_EQ(std::memcmp(&c.few_v[i], &clean_v[i], sizeof(float)), 0)
              << where << ", value element " << i;
        }
      }
      c.few_k = clean_k;
      c.few_v = clean_v;
      expect_same_bits(c.run(ctx), out, where + ", again");
      if (HasFatalFailure()) return;
    }
  }
}

// Many in a row without a wait between: each reads what the one before wrote.
TEST_P(FewRows, ChainsKeepTheirOrder) {
  const ops::Context ctx = context();
  if (!has_them(ctx)) GTEST_SKIP() << "this GPU has no such kernels";
  Random random(ctx);
  const std::int64_t rows = random.between(1, 16), h = 1024, inner = 3072;
  Floats gain = random.gains(h), up = random.normal(2 * inner * h, 0.03F),
         down = random.normal(h * inner, 0.02F);
  const Floats start = random.normal(rows * h);
  Floats first;
  for (int repeat = 0; repeat < 20; ++repeat) {
    Floats residual = start, middle = poisoned(rows * inner), expected = start;
    for (const bool waits : {false, true}) {
      const Mirror x = on(ctx, waits ? expected : residual, {rows, h}), y = on(ctx, middle, {rows, inner});
      const Mirror g = on(ctx, gain, {h}), a = on(ctx, up, {2 * inner, h}), b = on(ctx, down, {h, inner});
      for (int layer = 0; layer < 24; ++layer) {
        ops::norm_linear_swiglu_few(ctx, y, x, g, kEps, a, {});
        if (waits) ops::synchronize(ctx);
        ops::linear_add_few(ctx, x, y, b, {});
        if (waits) ops::synchronize(ctx);
      }
    }
    expect_same_bits(residual, expected, "waiting after each");
    if (first.empty()) first = residual;
    expect_same_bits(residual, first, "repeat " + std::to_string(repeat));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rlcpp::test
