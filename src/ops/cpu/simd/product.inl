// The matrix-product kernel. One element of C is one chain of fused multiply-adds over k = 0, 1, ..., so
// neither the shape of the register block nor the splitting of m, n and k changes a bit of it: between two
// pieces of k the chain rests in memory, where a float loses nothing. After Goto and van de Geijn 2008 and
// BLIS (Van Zee and van de Geijn 2015), vectorised over n.

struct BlockArgs {
  const float* a;
  const float* b0;  // columns 0..15, row stride ldb
  const float* b1;  // columns 16..31
  std::int64_t ldb;
  std::int64_t k;
  float* c;
  std::int64_t ldc;
  bool resume;                   // the chains start from C
  std::int64_t last;             // masked form: columns
  const float* ahead = nullptr;  // one line a step is fetched from here on, for later calls; null: none
  std::int64_t ahead_step = 0;
};

// How a block of A lies in scratch: A[i][k] = a[i * kRow + k * kColumn].
template <std::int64_t kRowStep, std::int64_t kColumnStep>
struct Layout {
  static constexpr std::int64_t kRow = kRowStep;
  static constexpr std::int64_t kColumn = kColumnStep;
};
using ByRows = Layout<kStride, 1>;
using ByColumns = Layout<1, kStride>;
using Interleaved = Layout<1, kInterleave>;

// kRows rows of C times kVectors vectors of columns; the masked form has one vector, of `last` columns.
template <class A, int kRows, int kVectors, bool kMasked>
void block(const BlockArgs& args) {
  static_assert(!kMasked || kVectors == 1);
  const float* a = args.a;
  const float* b0 = args.b0;
  const float* b1 = args.b1;
  const std::int64_t ldb = args.ldb;
  const std::int64_t last = args.last;
  F16 acc[kRows][kVectors];
  if (args.resume) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const float* c = args.c + i * args.ldc;
      acc[i][0] = kMasked ? load_first(c, last) : load(c);
      if constexpr (kVectors == 2) acc[i][1] = load(c + 16);
    }
  } else {
    // C is written when the chains end; its lines come while they run.
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      __builtin_prefetch(args.c + i * args.ldc, 1, 3);
      acc[i][0] = zero();
      if constexpr (kVectors == 2) {
        __builtin_prefetch(args.c + i * args.ldc + 16, 1, 3);
        acc[i][1] = zero();
      }
    }
  }
  const float* ahead = args.ahead != nullptr ? args.ahead : b0;
  const std::int64_t ahead_step = args.ahead_step;
  for (std::int64_t k = args.k; k > 0; --k) {
    __builtin_prefetch(ahead, 0, 2);
    ahead += ahead_step;
    const F16 x0 = kMasked ? load_first(b0, last) : load(b0);
    F16 x1 = x0;
    if constexpr (kVectors == 2) x1 = load(b1);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const F16 y = set1(a[i * A::kRow]);
      acc[i][0] = fma(y, x0, acc[i][0]);
      if constexpr (kVectors == 2) acc[i][1] = fma(y, x1, acc[i][1]);
    }
    a += A::kColumn;
    b0 += ldb;
    b1 += ldb;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* c = args.c + i * args.ldc;
    if constexpr (kMasked) {
      store_first(c, acc[i][0], last);
    } else {
      store(c, acc[i][0]);
      if constexpr (kVectors == 2) store(c + 16, acc[i][1]);
    }
  }
}

using Block = void (*)(const BlockArgs&);

// The forms for 1..kMaxRows rows.
template <class A, int kVectors, bool kMasked, int... kCounts>
inline Block block_for(std::int64_t rows, std::integer_sequence<int, kCounts...>) {
  static constexpr Block kForms[] = {&block<A, kCounts + 1, kVectors, kMasked>...};
  return kForms[rows - 1];
}
template <class A, int kVectors, bool kMasked>
inline Block block_for(std::int64_t rows) {
  return block_for<A, kVectors, kMasked>(rows, std::make_integer_sequence<int, kMaxRows>());
}

// rows <= kMaxRows rows of C times n <= 32 columns. b1 are columns 16..31. `padded`: B may be read (not C
// written) to the full width of a vector.
template <class A>
inline void block_row(std::int64_t rows, std::int64_t n, BlockArgs args) {
  if constexpr (kVectorsWide == 2) {
    if (n == 32) {
      block_for<A, 2, false>(rows)(args);
      return;
    }
  }
  const std::int64_t first = n < 16 ? n : 16;
  args.last = first;
  (first == 16 ? block_for<A, 1, false>(rows) : block_for<A, 1, true>(rows))(args);
  if (n <= 16) return;
  args.b0 = args.b1;
  args.c += 16;
  args.last = n - 16;
  (args.last == 16 ? block_for<A, 1, false>(rows) : block_for<A, 1, true>(rows))(args);
}

// kRows rows (few) times kFewPanels whole panels of packed B.
template <int kRows>
void few_rows(const BlockArgs& args, std::int64_t panel_stride) {
  const float* a = args.a;
  const float* b = args.b0;
  F16 acc[kRows][2 * kFewPanels];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < 2 * kFewPanels; ++v) {
      acc[i][v] = args.resume ? load(args.c + i * args.ldc + v * 16) : zero();
    }
  }
  for (std::int64_t k = args.k; k > 0; --k) {
    F16 y[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) y[i] = set1(a[i * kStride]);
#pragma GCC unroll 16
    for (int v = 0; v < 2 * kFewPanels; ++v) {
      const F16 x = load(b + v / 2 * panel_stride + v % 2 * 16);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][v] = fma(y[i], x, acc[i][v]);
    }
    ++a;
    b += kPanel;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (int v = 0; v < 2 * kFewPanels; ++v) store(args.c + i * args.ldc + v * 16, acc[i][v]);
  }
}

using FewRows = void (*)(const BlockArgs&, std::int64_t);
template <int... kCounts>
inline FewRows few_rows_for(std::int64_t rows, std::integer_sequence<int, kCounts...>) {
  static constexpr FewRows kForms[] = {&few_rows<kCounts + 1>...};
  return kForms[rows - 1];
}

// Rows of the next block when `left` remain: blocks of nearly one size waste less than full ones and a small
// rest.
inline std::int64_t next_rows(std::int64_t left) {
  if (left <= kMaxRows) return left;
  const std::int64_t blocks = (left + kMaxRows - 1) / kMaxRows;
  return (left + blocks - 1) / blocks;
}

inline void copy_floats(float* to, const float* from, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(from + i));
  if (i < n) store_first(to + i, load_first(from + i, n - i), n - i);
}

// A transposed: block after block of rows, [k][kInterleave] each.
inline void interleave_a(float* to, const ProductTile& t, std::int64_t k0, std::int64_t steps) {
  for (std::int64_t i = 0; i < t.m;) {
    const std::int64_t rows = next_rows(t.m - i);
    const float* from = t.a + k0 * t.lda + i;
    for (std::int64_t k = 0; k < steps; ++k) {
      store_first(to + k * kInterleave, load_first(from + k * t.lda, rows), rows);
    }
    to += steps * kInterleave;
    i += rows;
  }
}

// Cache lines that one call of a block asks for ahead of their use, one a step over k.
struct Ahead {
  const float* from = nullptr;
  std::int64_t step = 0;
};

// What the calls of one step over k fetch for the next one: call `visit` takes one column of lines of a
// transposed A, then one half of a panel of B. The hardware would find these streams only when they are read.
inline Ahead next_step(const ProductTile& t, std::int64_t k0, std::int64_t visit) {
  const std::int64_t k = k0 + kStep;
  if (k >= t.k) return {};
  const std::int64_t lines = t.a_transposed ? (t.m + 15) / 16 : 0;
  if (visit < lines) return {t.a + k * t.lda + visit * 16, t.lda};
  const std::int64_t panel = (visit - lines) / 2;
  if (t.ldb != kPanel || panel * kPanel >= t.n) return {};
  return {t.b + panel * t.panel_stride + k * t.ldb + (visit - lines) % 2 * kStep * 16, 16};
}

// The bias and the old C, once the chains are finished.
inline void finish_product(const ProductTile& t, const float* chain, std::int64_t ld_chain) {
  for (std::int64_t i = 0; i < t.m; ++i) {
    for (std::int64_t j = 0; j < t.n; j += 16) {
      const std::int64_t lanes = t.n - j < 16 ? t.n - j : 16;
      F16 value = load_upto(chain + i * ld_chain + j, lanes);
      if (t.bias != nullptr) value = add(value, load_upto(t.bias + j, lanes));
      if (t.add_old) value = add(value, load_upto(t.c + i * t.ldc + j, lanes));
      store_upto(t.c + i * t.ldc + j, value, lanes);
    }
  }
}

void product_tile(const ProductTile& t) {
  float* chain = t.add_old ? t.partial : t.c;
  const std::int64_t ld_chain = t.add_old ? (t.n + 31) / 32 * 32 : t.ldc;
  for (std::int64_t k0 = 0; k0 == 0 || k0 < t.k; k0 += kStep) {
    const std::int64_t steps = t.k - k0 < kStep ? t.k - k0 : kStep;
    if (t.a_transposed) {
      interleave_a(t.a_scratch, t, k0, steps);
    } else {
      for (std::int64_t i = 0; i < t.m; ++i)
        copy_floats(t.a_scratch + i * kStride, t.a + i * t.lda + k0, steps);
    }
    const auto multiply = [&](const float* a, std::int64_t i, std::int64_t rows, std::int64_t j,
                              const Ahead& ahead) {
      const float* panel = t.b + j / kPanel * t.panel_stride + k0 * t.ldb;
      const std::int64_t columns = t.n - j < kPanel ? t.n - j : kPanel;
      const BlockArgs args = {
          a, panel,      panel + 16, t.ldb, steps, chain + i * ld_chain + j, ld_chain, t.resume || k0 > 0,
          0, ahead.from, ahead.step};
      if (t.a_transposed) {
        block_row<Interleaved>(rows, columns, args);
      } else {
        block_row<ByRows>(rows, columns, args);
      }
    };
    const std::int64_t row_size = t.a_transposed ? 0 : kStride;  // of a block of A
    const std::int64_t block_size = t.a_transposed ? steps * kInterleave : 0;
    // The operand of the inner loop stays in the second-level cache. If B fits there, C is written row by
    // row, which suits the hardware's prefetch.
    std::int64_t first = 0;
    if (t.m <= kFewRows && !t.a_transposed && t.ldb == kPanel) {
      for (; first + kFewPanels * kPanel <= t.n; first += kFewPanels * kPanel) {
        const float* panel = t.b + first / kPanel * t.panel_stride + k0 * kPanel;
        few_rows_for(t.m, std::make_integer_sequence<int, kFewRows>())(
            {t.a_scratch, panel, nullptr, kPanel, steps, chain + first, ld_chain, t.resume || k0 > 0, 0},
            t.panel_stride);
      }
    }
    if (t.n * steps <= kResidentB) {
      const float* a = t.a_scratch;
      std::int64_t visit = 0;
      for (std::int64_t i = 0; i < t.m;) {
        const std::int64_t rows = next_rows(t.m - i);
        for (std::int64_t j = first; j < t.n; j += kPanel) {
          multiply(a, i, rows, j, next_step(t, k0, visit));
          ++visit;
        }
        a += rows * row_size + block_size;
        i += rows;
      }
    } else {
      for (std::int64_t j = first; j < t.n; j += kPanel) {
        const float* a = t.a_scratch;
        std::int64_t block = 0;
        for (std::int64_t i = 0; i < t.m;) {
          const std::int64_t rows = next_rows(t.m - i);
          // The first two blocks of a panel fetch the next panel.
          Ahead ahead;
          if (block < 2 && t.ldb == kPanel && j + kPanel < t.n) {
            ahead = {t.b + (j / kPanel + 1) * t.panel_stride + k0 * t.ldb + block * steps * 16, 16};
          }
          multiply(a, i, rows, j, ahead);
          ++block;
          a += rows * row_size + block_size;
          i += rows;
        }
      }
    }
  }
  if (t.bias != nullptr || t.add_old) finish_product(t, chain, ld_chain);
}

// to[d * to_stride + j] = from[j * from_stride + d], j < count <= 16, zeros beyond, d < n.
inline void transpose_rows(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride,
                           std::int64_t count, std::int64_t n) {
  std::int64_t d = 0;
  if (count == 16) {
    for (; d + 16 <= n; d += 16) transpose_16x16(to + d * to_stride, to_stride, from + d, from_stride);
  }
  for (; d < n; ++d) {
    for (std::int64_t j = 0; j < 16; ++j)
      to[d * to_stride + j] = j < count ? from[j * from_stride + d] : 0.0F;
  }
}

void pack_transposed_panel(float* panel, const float* w, std::int64_t ldw, std::int64_t count,
                           std::int64_t k) {
  const std::int64_t first = count < 16 ? count : 16;
  transpose_rows(panel, kPanel, w, ldw, first, k);
  transpose_rows(panel + 16, kPanel, w + first * ldw, ldw, count - first, k);
}

void pack_panel(float* panel, const float* b, std::int64_t ldb, std::int64_t count, std::int64_t k) {
  const std::int64_t first = count < 16 ? count : 16;
  for (std::int64_t i = 0; i < k; ++i) {
    store(panel + i * kPanel, load_upto(b + i * ldb, first));
    store(panel + i * kPanel + 16,
          count == 32 ? load(b + i * ldb + 16) : load_first(b + i * ldb + first, count - first));
  }
}

void transpose_tile(float* tile, std::int64_t tile_stride, const float* rows, std::int64_t row_stride,
                    std::int64_t count, std::int64_t head_dim) {
  transpose_rows(tile, tile_stride, rows, row_stride, count, head_dim);
}
