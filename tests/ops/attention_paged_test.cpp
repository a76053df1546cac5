// The paged form: any page size, any order of pages, any chunking of the prefill, decode one by one,
// sequences mixed in one call. On the CPU it gives the bits of the packed form.
#include <numeric>

#include "ops/attention_cases.h"
#include "ops/reference/attention.h"

namespace rlcpp::test {
namespace {

// The cache of all documents of a case, in shuffled pages full of NaN.
struct Cache {
  std::int64_t page_size, max_pages, num_pages;
  Floats k, v;
  Ints tables;  // [documents, max_pages]

  Cache(Random& random, const AttentionCase& c, std::int64_t size) : page_size(size) {
    const auto documents = static_cast<std::int64_t>(c.cu_seqlens.size()) - 1;
    max_pages = c.rows() / page_size + 2;
    num_pages = documents * max_pages + 3;
    k = poisoned(num_pages * page_size * c.shape.num_kv_heads * c.shape.head_dim);
    v = k;
    Ints order(num_pages);
    std::iota(order.begin(), order.end(), 0);
    shuffle(order, random.rng());
    tables.assign(order.begin(), order.begin() + documents * max_pages);
  }
};

// Runs rows `rows` (numbers of rows of the case) in one call and stores their outputs in `out`.
void run_rows(const ops::Context& ctx, AttentionCase& c, Cache& cache, const Ints& rows, Floats& out) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::int64_t width = c.shape.width();
  const std::int64_t out_width = c.shape.num_heads * c.shape.head_dim;
  const auto documents = static_cast<std::int64_t>(c.cu_seqlens.size()) - 1;
  Floats qkv;
  Ints positions;
  Ints sequences;
  Ints slots;
  for (const std::int32_t row : rows) {
    std::int32_t document = 0;
    while (c.cu_seqlens[document + 1] <= row) ++document;
    const std::int32_t position = row - c.cu_seqlens[document];
    qkv.insert(qkv.end(), c.qkv.begin() + row * width, c.qkv.begin() + (row + 1) * width);
    positions.push_back(position);
    sequences.push_back(document);
    const std::int64_t page = cache.tables[document * cache.max_pages + position / cache.page_size];
    slots.push_back(static_cast<std::int32_t>(page * cache.page_size + position % cache.page_size));
  }
  Floats result = poisoned(count * out_width);
  {
    const auto of_cache = [&](Floats& values) {
      return on(ctx, values, {cache.num_pages, cache.page_size, c.shape.num_kv_heads, c.shape.head_dim});
    };
    const Mirror rows_qkv = on(ctx, qkv, {count, width}), k = of_cache(cache.k), v = of_cache(cache.v);
    const ops::KvPages pages = {k, v};
    ops::kv_write(ctx, pages, rows_qkv, i32(ctx, slots, {count}), c.shape);
    ops::attention_paged(ctx, on(ctx, result, {count, out_width}), rows_qkv, pages,
                         i32(ctx, positions, {count}), i32(ctx, sequences, {count}),
                         i32(ctx, cache.tables, {documents, cache.max_pages}), c.shape, c.scale);
  }
  for (std::int64_t t = 0; t < count; ++t) {
    std::copy_n(result.begin() + t * out_width, out_width, out.begin() + rows[t] * out_width);
  }
}

// All rows in calls of random sizes: each document's rows in order, documents interleaved at random.
Floats run_mixed(const ops::Context& ctx, AttentionCase& c, Cache& cache, Random& random,
                 std::int64_t largest_chunk) {
  Floats out = poisoned(c.rows() * c.shape.num_heads * c.shape.head_dim);
  Ints next(c.cu_seqlens.begin(), c.cu_seqlens.end() - 1);
  std::int64_t left = c.rows();
  while (left > 0) {
    Ints rows;
    for (std::size_t d = 0; d < next.size(); ++d) {
      const std::int64_t chunk =
          std::min<std::int64_t>(random.between(0, largest_chunk), c.cu_seqlens[d + 1] - next[d]);
      for (std::int64_t i = 0; i < chunk; ++i) rows.push_back(next[d]++);
    }
    if (rows.empty()) continue;
    left -= static_cast<std::int64_t>(rows.size());
    run_rows(ctx, c, cache, rows, out);
  }
  return out;
}

using PagedAttention = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, PagedAttention, every_device(), device_name);

TEST_P(PagedAttention, AgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  const std::vector<ops::QkvShape> shapes = {{4, 2, 64}, {16, 8, 128}, {6, 2, 80}, {2, 1, 256}, {8, 1, 32}};
  for (const ops::QkvShape& shape : shapes) {
    AttentionCase c = make_attention_case(random, shape, {1, random.between(2, 90), 33});
    const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
    for (const std::int64_t page_size : {16, 5, 64}) {
      for (const std::int64_t chunk : {1, 300}) {
        Cache cache(random, c, page_size);
        expect_close(run_mixed(ctx, c, cache, random, chunk), expected.out, attention_tolerance(ctx),
                     "pages of " + std::to_string(page_size) + ", chunks up to " + std::to_string(chunk));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(PagedAttentionExact, IsThePackedFormBitForBit) {
  Random random;
  const ops::Context ctx = cpu_context();
  const std::vector<ops::QkvShape> shapes = {{4, 2, 32}, {3, 1, 40}, {2, 2, 8}, {6, 3, 64}, {2, 1, 128}};
  for (const ops::QkvShape& shape : shapes) {
    AttentionCase c =
        make_attention_case(random, shape, {1, random.between(2, 90), 33, random.between(2, 200)});
    const Floats packed = run_packed(ctx, c).out;
    for (const std::int64_t page_size : {16, 1, 5, 32, 64}) {
      for (const std::int64_t chunk : {1, 7, 300}) {
        Cache cache(random, c, page_size);
        expect_same_bits(run_mixed(ctx, c, cache, random, chunk), packed,
                         "pages of " + std::to_string(page_size) + ", chunks up to " + std::to_string(chunk));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(PagedAttentionExact, LongDocumentsInChunks) {
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {4, 2, 16}, {1500});
  const Floats packed = run_packed(ctx, c).out;
  for (const std::int64_t page_size : {16, 48}) {
    Cache cache(random, c, page_size);
    expect_same_bits(run_mixed(ctx, c, cache, random, 400), packed, "1500 tokens");
  }
}

TEST(PagedAttentionExact, EightThousandTokens) {
  if (!long_tier()) GTEST_SKIP() << "long tier";
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {4, 1, 64}, {8192, 3});
  const Floats packed = run_packed(ctx, c).out;
  Cache cache(random, c, 16);
  expect_same_bits(run_mixed(ctx, c, cache, random, 2048), packed, "8192 tokens");
}

TEST_P(PagedAttention, SequencesMayShareThePagesOfAPrompt) {
  const ops::Context ctx = context();
  Random random(ctx);
  AttentionCase c = make_attention_case(random, {4, 2, 64}, {40, 40});
  const std::int64_t width = c.shape.width();
  // The documents share their first 32 tokens: two pages, written by the first alone.
  std::copy_n(c.qkv.begin(), 32 * width, c.qkv.begin() + 40 * width);
  const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
  Cache cache(random, c, 16);
  std::copy_n(cache.tables.begin(), 2, cache.tables.begin() + cache.max_pages);
  Floats out = poisoned(c.rows() * c.out_width());
  Ints first(40);
  std::iota(first.begin(), first.end(), 0);
  run_rows(ctx, c, cache, first, out);
  Ints second(8);
  std::iota(second.begin(), second.end(), 72);
  run_rows(ctx, c, cache, second, out);
  const auto part = [&](const auto& rows, std::int64_t begin, std::int64_t count) {
    using Vector = std::decay_t<decltype(rows)>;
    return Vector(rows.begin() + begin * c.out_width(), rows.begin() + (begin + count) * c.out_width());
  };
  expect_close(part(out, 0, 40), part(expected.out, 0, 40), attention_tolerance(ctx), "first");
  expect_close(part(out, 72, 8), part(expected.out, 72, 8), attention_tolerance(ctx), "second");
  if (ctx.on_gpu()) return;
  const Floats packed = run_packed(ctx, c).out;
  expect_same_bits(part(out, 0, 40), part(packed, 0, 40), "first");
  expect_same_bits(part(out, 72, 8), part(packed, 72, 8), "second");
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(PagedAttention, SameBits) {
  const ops::Context device = context();
  Random random(device);
  AttentionCase c = make_attention_case(random, {6, 2, 48}, {120, 61});
  for (const std::int64_t page_size : {16, 3}) {
    Cache empty(random, c, page_size);
    Ints rows(c.rows());
    std::iota(rows.begin(), rows.end(), 0);
    same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          Cache cache = empty;
          Floats out = poisoned(c.rows() * 6 * 48);
          run_rows(ctx, c, cache, rows, out);
          return out;
        },
        "paged attention");
  }
}

TEST(PagedAttentionChecks, SlotsAndPositionsOutsideTheCacheAreRefused) {
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {2, 1, 8}, {3});
  Cache cache(random, c, 4);
  Ints slots = {0, 1, static_cast<std::int32_t>(cache.num_pages * 4)};
  const auto of_cache = [&](Floats& values) { return view(values, {cache.num_pages, 4, 1, 8}); };
  const ops::KvPages pages = {of_cache(cache.k), of_cache(cache.v)};
  EXPECT_THROW(ops::kv_write(ctx, pages, view(c.qkv, {3, c.shape.width()}), view(slots, {3}), c.shape),
               Error);
  Floats out(3 * 16);
  Ints positions = {0, 1, static_cast<std::int32_t>(cache.max_pages * 4)};
  Ints sequences = {0, 0, 0};
  EXPECT_THROW(ops::attention_paged(ctx, view(out, {3, 16}), view(c.qkv, {3, c.shape.width()}), pages,
                                    view(positions, {3}), view(sequences, {3}),
                                    view(cache.tables, {1, cache.max_pages}), c.shape, c.scale),
               Error);
}

}  // namespace
}  // namespace rlcpp::test
