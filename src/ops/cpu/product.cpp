#include "ops/cpu/product.h"

#include <algorithm>
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kRowsOfTile = 112;        // rows of A whose scratch stays in the second-level cache
constexpr std::int64_t kRowsOfBlock = 14;        // of the widest kernel: fewer in a tile leave registers idle
constexpr std::int64_t kPanelsOfTile = 32;       // at most 1024 columns a task
constexpr std::int64_t kPackedFloats = 2 << 20;  // of B packed at a time: 8 MiB
constexpr std::int64_t kRowsWithoutPacking =
    28;  // so few rows read B once or twice: packing would cost as much

// How C is cut into tasks; no cut changes a bit of it.
struct Cut {
  std::int64_t tile_rows, tile_panels;
};

// The cut that ends first by a rough count, in cycles of two 16-wide fused multiply-adds for one step over k:
// a tile's multiply-adds, copying its part of A and fetching its part of B, which every task does for itself.
// Threads take tasks in rounds; the last is seldom full, and threads are seldom equally quick.
Cut cut_for(std::int64_t m, std::int64_t panels, int threads) {
  const std::int64_t least_rows = blocks_of(m, kRowsOfTile);
  if (threads == 1) return {blocks_of(m, least_rows), std::min(panels, kPanelsOfTile)};
  const std::int64_t most_rows = std::min(8 * least_rows, std::max(least_rows, m / kRowsOfBlock));
  Cut best{};
  double best_time = 0;
  for (std::int64_t row_tiles = least_rows; row_tiles <= most_rows; ++row_tiles) {
    const std::int64_t rows = blocks_of(m, row_tiles);
    for (std::int64_t column_tiles = blocks_of(panels, kPanelsOfTile); column_tiles <= panels;
         ++column_tiles) {
      const std::int64_t wide = blocks_of(panels, column_tiles);
      if (wide == 1 && panels > 1) break;  // one panel a task reads A too often
      const auto tasks = static_cast<double>(blocks_of(m, rows) * blocks_of(panels, wide));
      const double rounds = std::max(std::ceil(tasks / threads), tasks / threads + 0.35);
      const auto i = static_cast<double>(rows);
      const auto j = static_cast<double>(wide);
      const double time = rounds * (i * j + 0.2 * i + 4 * j);
      if (best_time == 0 || time < best_time) {
        best_time = time;
        best = {rows, wide};
      }
      if (tasks > 8 * threads) break;
    }
    if (blocks_of(m, rows) > 8 * threads) break;
  }
  return best;
}

// One call with B in panels, or in rows read in place.
void multiply(const Context& ctx, const Product& p, std::int64_t panel_stride) {
  const Kernels& kernels = kernels_of(ctx);
  const int threads = ctx.pool != nullptr ? ctx.pool->size() : 1;
  const std::int64_t panels = blocks_of(p.n, kPanel);
  const auto [tile_rows, tile_panels] = cut_for(p.m, panels, threads);
  const std::int64_t row_tiles = blocks_of(p.m, tile_rows);
  const std::int64_t column_tiles = blocks_of(panels, tile_panels);
  const double work = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  parallel(ctx, row_tiles * column_tiles, work, [&, rows = tile_rows, wide = tile_panels](std::int64_t task) {
    const std::int64_t i = task / column_tiles * rows;
    const std::int64_t j = task % column_tiles * wide * kPanel;
    ProductTile tile;
    tile.a = p.a_transposed ? p.a + i : p.a + i * p.lda;
    tile.lda = p.lda;
    tile.a_transposed = p.a_transposed;
    tile.b = p.b + j / kPanel * panel_stride;
    tile.panel_stride = panel_stride;
    tile.ldb = p.ldb;
    tile.c = p.c + i * p.ldc + j;
    tile.ldc = p.ldc;
    tile.m = std::min(rows, p.m - i);
    tile.n = std::min(wide * kPanel, p.n - j);
    tile.k = p.k;
    tile.resume = p.resume;
    tile.bias = p.bias != nullptr ? p.bias + j : nullptr;
    tile.add_old = p.add_old;
    tile.a_scratch = thread_scratch(Scratch::kProductA, product_scratch(tile.m));
    if (p.add_old) {
      tile.partial = thread_scratch(Scratch::kProductPartial, tile.m * blocks_of(tile.n, kPanel) * kPanel);
    }
    kernels.product_tile(tile);
  });
}

}  // namespace

std::int64_t panels_size(std::int64_t n, std::int64_t k) {
  return blocks_of(n, kPanel) * kPanel * k;
}

void pack_panels(const Context& ctx, float* panels, const float* b, std::int64_t ldb, OperandB form,
                 std::int64_t n, std::int64_t k) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t pieces = blocks_of(k, kStep);
  const double work = 8.0 * static_cast<double>(n) * static_cast<double>(k);
  parallel(ctx, blocks_of(n, kPanel) * pieces, work, [&](std::int64_t task) {
    const std::int64_t j = task / pieces * kPanel;
    const std::int64_t k0 = task % pieces * kStep;
    const std::int64_t count = std::min(kPanel, n - j);
    const std::int64_t steps = std::min(kStep, k - k0);
    float* panel = panels + j * k + k0 * kPanel;
    if (form == OperandB::kTransposed) {
      kernels.pack_transposed_panel(panel, b + j * ldb + k0, ldb, count, steps);
    } else {
      kernels.pack_panel(panel, b + k0 * ldb + j, ldb, count, steps);
    }
  });
}

void product(const Context& ctx, const Product& p) {
  RLCPP_CHECK(!(p.resume && p.add_old));
  if (p.m == 0 || p.n == 0) return;
  if (p.b_form == OperandB::kPanels) {
    Product part = p;
    part.ldb = kPanel;
    multiply(ctx, part, kPanel * p.k);
    return;
  }
  if (p.b_form == OperandB::kRows && p.m <= kRowsWithoutPacking) {
    multiply(ctx, p, kPanel);
    return;
  }
  // Pieces of B are packed one after the other. A piece takes all of k where the bias or the old C waits for
  // the end of the chain, else the chain rests in C between pieces.
  const bool whole_k = p.bias != nullptr || p.add_old;
  const std::int64_t columns = std::clamp(kPackedFloats / std::max<std::int64_t>(p.k, 1) / kPanel * kPanel,
                                          std::min<std::int64_t>(8 * kPanel, p.n), p.n);
  const std::int64_t piece_k =
      whole_k ? p.k
              : std::min(p.k, std::max(kStep,
                                       kPackedFloats / blocks_of(columns, kPanel) / kPanel / kStep * kStep));
  float* panels =
      thread_scratch(Scratch::kProductB, panels_size(columns, std::max<std::int64_t>(piece_k, 1)));
  for (std::int64_t j = 0; j < p.n; j += columns) {
    for (std::int64_t k0 = 0; k0 == 0 || k0 < p.k; k0 += piece_k) {
      Product part = p;
      part.n = std::min(columns, p.n - j);
      part.k = std::min(piece_k, p.k - k0);
      const bool by_rows = p.b_form == OperandB::kRows;
      pack_panels(ctx, panels, by_rows ? p.b + k0 * p.ldb + j : p.b + j * p.ldb + k0, p.ldb, p.b_form, part.n,
                  part.k);
      part.a = p.a_transposed ? p.a + k0 * p.lda : p.a + k0;
      part.b = panels;
      part.ldb = kPanel;
      part.c = p.c + j;
      part.bias = p.bias != nullptr ? p.bias + j : nullptr;
      part.resume = p.resume || k0 > 0;
      multiply(ctx, part, kPanel * part.k);
      if (p.k == 0) break;
    }
  }
}

}  // namespace rlcpp::ops::cpu
