// The paged form: any page size, any order of pages, any chunking of the prefill, decode one by one,
// sequences mixed in one call. On the CPU it gives the bits of the packed form.
#include <map>
#include <numeric>
#include <set>

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

// Who is computed together, as the engine makes it: a sequence a document that has rows here, whose rows are
// neighbours.
struct Work {
  std::vector<ops::PagedSequence> sequences;
  Ints decode, prefill, counts, arrivals;
  Floats partials;
  ops::PagedCounts used;
  std::int64_t max_chunks = 0;

  Work(const AttentionCase& c, const Cache& cache, const Ints& positions, const Ints& documents, bool share) {
    const auto all = static_cast<std::int64_t>(c.cu_seqlens.size()) - 1;
    sequences.resize(all);
    for (std::int64_t d = 0; d < all; ++d) {
      sequences[d].pages = std::span(cache.tables).subspan(d * cache.max_pages, cache.max_pages);
    }
    for (std::size_t row = 0; row < positions.size(); ++row) {
      ops::PagedSequence& s = sequences[documents[row]];
      if (s.count++ == 0) {
        s.row = static_cast<std::int32_t>(row);
        s.start = positions[row];
      }
    }
    const auto most =
        ops::most_paged_work(all, static_cast<std::int64_t>(positions.size()), c.rows(), c.shape);
    decode.assign(most.decode * ops::kDecodeWidth, -1);
    prefill.assign(most.prefill * ops::kPrefillWidth, -1);
    used = ops::fill_paged_work(
        sequences, cache.page_size, c.shape, share,
        {reinterpret_cast<ops::DecodeEntry*>(decode.data()), static_cast<std::size_t>(most.decode)},
        {reinterpret_cast<ops::PrefillEntry*>(prefill.data()), static_cast<std::size_t>(most.prefill)});
    counts = {static_cast<std::int32_t>(used.decode), static_cast<std::int32_t>(used.prefill)};
    arrivals.assign(all * c.shape.num_kv_heads, 0);
    partials = poisoned(ops::paged_partials(all, c.rows(), c.shape));
    max_chunks = ops::chunks_of(c.rows());
  }
};

// Runs rows `rows` (numbers of rows of the case) in one call and stores their outputs in `out`. `work`: by
// the kernels that compute rows together.
void run_rows(const ops::Context& ctx, AttentionCase& c, Cache& cache, const Ints& rows, Floats& out,
              bool with_work = false, bool share = true) {
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
    Ints tables = cache.tables;
    if (!with_work) {
      ops::attention_paged(ctx, on(ctx, result, {count, out_width}), rows_qkv, pages,
                           i32(ctx, positions, {count}), i32(ctx, sequences, {count}),
                           i32(ctx, tables, {documents, cache.max_pages}), c.shape, c.scale);
    } else {
      Work work(c, cache, positions, sequences, share);
      {
        const auto list = [&](Ints& values, std::int64_t of_entry) {
          return Mirror(ctx, values, {static_cast<std::int64_t>(values.size()) / of_entry, of_entry});
        };
        const Mirror decode = list(work.decode, ops::kDecodeWidth),
                     prefill = list(work.prefill, ops::kPrefillWidth);
        const Mirror counts(ctx, work.counts, {2});
        const Mirror arrivals(ctx, work.arrivals, {static_cast<std::int64_t>(work.arrivals.size())});
        const Mirror partials(ctx, work.partials, DType::kF32,
                              {static_cast<std::int64_t>(work.partials.size())});
        ops::PagedWork lists{decode, prefill, counts, partials, arrivals, work.used, work.max_chunks};
        ops::attention_paged(ctx, on(ctx, result, {count, out_width}), rows_qkv, pages,
                             i32(ctx, positions, {count}), i32(ctx, sequences, {count}),
                             i32(ctx, tables, {documents, cache.max_pages}), c.shape, c.scale, lists);
      }
      for (const std::int32_t left : work.arrivals) EXPECT_EQ(left, 0);
    }
  }
  for (std::int64_t t = 0; t < count; ++t) {
    std::copy_n(result.begin() + t * out_width, out_width, out.begin() + rows[t] * out_width);
  }
}

// All rows in calls of random sizes: each document's rows in order, documents interleaved at random. The last
// `last_apart` rows of a document come one by one.
Floats run_mixed(const ops::Context& ctx, AttentionCase& c, Cache& cache, Random& random,
                 std::int64_t largest_chunk, bool with_work = false, std::int64_t last_apart = 0) {
  Floats out = poisoned(c.rows() * c.shape.num_heads * c.shape.head_dim);
  Ints next(c.cu_seqlens.begin(), c.cu_seqlens.end() - 1);
  std::int64_t left = c.rows();
  while (left > 0) {
    Ints rows;
    for (std::size_t d = 0; d < next.size(); ++d) {
      const std::int64_t rest = c.cu_seqlens[d + 1] - next[d];
      const std::int64_t most = rest > last_apart ? rest - last_apart : std::min<std::int64_t>(rest, 1);
      const std::int64_t chunk = std::min<std::int64_t>(random.between(0, largest_chunk), most);
      for (std::int64_t i = 0; i < chunk; ++i) rows.push_back(next[d]++);
    }
    if (rows.empty()) continue;
    left -= static_cast<std::int64_t>(rows.size());
    run_rows(ctx, c, cache, rows, out, with_work);
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

const std::vector<ops::QkvShape> kWorkShapes = {{4, 2, 64},  {16, 8, 128}, {8, 2, 128}, {6, 2, 128},
                                                {16, 1, 64}, {5, 1, 128},  {3, 3, 64}};

// On a GPU with kernels that compute rows together: the same answers, whatever is computed with what, bit for
// bit.
TEST_P(PagedAttention, RowsComputedTogether) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const ops::QkvShape& shape : kWorkShapes) {
    for (const std::int64_t page_size : {16, 64}) {
      if (!ops::takes_paged_work(ctx, shape, page_size)) GTEST_SKIP() << "no such kernels";
      AttentionCase c =
          make_attention_case(random, shape, {1, random.between(250, 700), 33, 256, random.between(2, 600)});
      const auto expected =
          ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
      Floats first;
      for (const std::int64_t chunk : {300, 70, 1000}) {
        Cache cache(random, c, page_size);
        const Floats out = run_mixed(ctx, c, cache, random, chunk, true, random.between(0, 4));
        const std::string where = "heads " + std::to_string(shape.num_heads) + " of " +
                                  std::to_string(shape.head_dim) + ", pages of " + std::to_string(page_size) +
                                  ", chunks up to " + std::to_string(chunk);
        expect_close(out, expected.out, attention_tolerance(ctx), where);
        if (first.empty()) {
          // The trainer's exact form, whose statistics its backward reads.
          ops::Context exact = ctx;
          exact.mode = ops::NumericMode::kExact;
          AttentionResult packed = run_packed(exact, c);
          first = packed.out;
          expect_close(packed.lse, expected.lse, Tolerance{1e-3, 1e-3}, where + ", lse");
        }
        expect_same_bits(out, first, where);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Groups whose prompts lie in the same pages, decoding: with and without reading them together.
TEST_P(PagedAttention, PagesReadTogether) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const ops::QkvShape& shape : kWorkShapes) {
    if (!ops::takes_paged_work(ctx, shape, 16)) GTEST_SKIP() << "no such kernels";
    const std::int64_t prompt = 16 * random.between(1, 40), samples = random.between(2, 20);
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = 0; i < samples; ++i) lengths.push_back(prompt + random.between(1, 300));
    AttentionCase c = make_attention_case(random, shape, lengths);
    const std::int64_t width = shape.width();
    Cache cache(random, c, 16);
    for (std::int64_t i = 1; i < samples; ++i) {
      std::copy_n(c.qkv.begin(), prompt * width, c.qkv.begin() + c.cu_seqlens[i] * width);
      std::copy_n(cache.tables.begin(), prompt / 16, cache.tables.begin() + i * cache.max_pages);
    }
    const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
    Floats out = poisoned(c.rows() * c.out_width()), apart = out;
    // All but the last token of each, then the last ones in one call.
    Ints last;
    for (std::int64_t i = 0; i < samples; ++i) {
      Ints rows;
      for (std::int32_t row = c.cu_seqlens[i] + (i == 0 ? 0 : static_cast<std::int32_t>(prompt));
           row + 1 < c.cu_seqlens[i + 1]; ++row)
        rows.push_back(row);
      if (!rows.empty()) run_rows(ctx, c, cache, rows, out, true);
      last.push_back(c.cu_seqlens[i + 1] - 1);
    }
    run_rows(ctx, c, cache, last, out, true, true);
    run_rows(ctx, c, cache, last, apart, true, false);
    for (const std::int32_t row : last) {
      const auto part = [&](const auto& rows) {
        using Vector = std::decay_t<decltype(rows)>;
        return Vector(rows.begin() + row * c.out_width(), rows.begin() + (row + 1) * c.out_width());
      };
      expect_close(part(out), part(expected.out), attention_tolerance(ctx), "together");
      expect_same_bits(part(apart), part(out), "apart");
      if (HasFatalFailure()) return;
    }
  }
}

// Every row meets each chunk of its keys once; rows of one entry have its pages, and tables are numbered as
// the sequences are, also of those that are computed elsewhere.
TEST(PagedWork, CoversEveryKeyOnce) {
  Random random;
  for (int round = 0; round < 200; ++round) {
    const ops::QkvShape shape = kWorkShapes[random.between(0, kWorkShapes.size() - 1)];
    const std::int64_t page_size = 16 * random.between(1, 3);
    const std::int64_t count = random.between(1, 40), longest = random.between(2, 1500);
    std::vector<Ints> pages(count);
    std::vector<ops::PagedSequence> sequences;
    std::int32_t next_page = 0, row = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto keys = static_cast<std::int32_t>(random.between(1, longest));
      const bool elsewhere = random.between(0, 4) == 0;
      const std::int32_t tokens = elsewhere ? 0
                                  : random.between(0, 2) > 0
                                      ? 1
                                      : static_cast<std::int32_t>(random.between(1, keys));
      const std::int64_t needed = (keys + page_size - 1) / page_size;
      for (std::int64_t p = 0; p < needed; ++p) {
        const bool same =
            i > 0 && random.between(0, 9) > 0 && p < static_cast<std::int64_t>(pages[i - 1].size());
        pages[i].push_back(same ? pages[i - 1][p] : next_page++);
      }
      sequences.push_back({row, keys - tokens, tokens, {}});
      row += elsewhere ? keys : tokens;
    }
    for (std::int64_t i = 0; i < count; ++i) sequences[i].pages = pages[i];
    const auto most = ops::most_paged_work(count, row, longest, shape);
    std::vector<ops::DecodeEntry> decode(most.decode);
    std::vector<ops::PrefillEntry> prefill(most.prefill);
    const auto used = ops::fill_paged_work(sequences, page_size, shape, true, decode, prefill);
    std::map<std::int32_t, std::int32_t> seen;  // keys of rows that decode
    std::map<std::int32_t, std::set<std::int32_t>> chunks;
    const auto sequence_of = [&](std::int32_t r) {
      std::int64_t i = 0;
      while (sequences[i].row + sequences[i].count <= r) ++i;
      return i;
    };
    for (std::int64_t e = 0; e < used.decode; ++e) {
      const ops::DecodeEntry& entry = decode[e];
      ASSERT_LE(entry.count * (shape.num_heads / shape.num_kv_heads), 16);
      for (std::int32_t i = 0; i < entry.count; ++i) {
        const std::int64_t s = sequence_of(entry.row[i]);
        ASSERT_EQ(sequences[s].count, 1);
        ASSERT_TRUE(chunks[entry.row[i]].insert(entry.chunk).second);
        seen[entry.row[i]] += entry.keys;
        for (std::int32_t key = 0; key < entry.keys; ++key) {
          const std::int64_t page = (entry.chunk * ops::kPagedChunk + key) / page_size;
          ASSERT_EQ(pages[s][page], pages[entry.table][page]);
        }
      }
    }
    std::set<std::int32_t> rows;
    for (std::int64_t e = 0; e < used.prefill; ++e) {
      for (std::int32_t i = 0; i < prefill[e].count; ++i) {
        ASSERT_TRUE(rows.insert(prefill[e].row + i).second);
        const std::int64_t s = sequence_of(prefill[e].row + i);
        ASSERT_EQ(s, prefill[e].table);
        ASSERT_EQ(prefill[e].position + i, sequences[s].start + prefill[e].row + i - sequences[s].row);
      }
    }
    for (const ops::PagedSequence& s : sequences) {
      if (s.count == 1) {
        ASSERT_EQ(seen[s.row], s.start + 1);
        continue;
      }
      for (std::int32_t i = 0; i < s.count; ++i) ASSERT_TRUE(rows.contains(s.row + i));
    }
  }
}

TEST_P(PagedAttention, WholePagesAreCopied) {
  const ops::Context ctx = context();
  Random random(ctx);
  Floats k = random.normal(7 * 16 * 2 * 64), v = random.normal(7 * 16 * 2 * 64);
  Floats expected_k = k, expected_v = v;
  const std::int64_t page = 16 * 2 * 64;
  Ints pairs = {2, 5, 0, 6};
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    std::copy_n(k.begin() + pairs[i] * page, page, expected_k.begin() + pairs[i + 1] * page);
    std::copy_n(v.begin() + pairs[i] * page, page, expected_v.begin() + pairs[i + 1] * page);
  }
  {
    const Mirror of_k = on(ctx, k, {7, 16, 2, 64}), of_v = on(ctx, v, {7, 16, 2, 64});
    ops::kv_copy(ctx, {of_k, of_v}, i32(ctx, pairs, {2, 2}));
  }
  expect_same_bits(k, expected_k, "keys");
  expect_same_bits(v, expected_v, "values");
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
