#include "ops/cpu/attention.h"

#include <algorithm>
#include <array>
#include <vector>

#include "ops/cpu/attention_work.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

// Rows (queries times heads of a group) that share one walk over the keys. More rows reuse the keys better,
// but their scores must stay in the second-level cache.
constexpr std::int64_t kMaxAttendRows = 56;
constexpr std::int64_t kScoreFloats = 128 * 1024;

// Queries of one task: consecutive, all heads of one kv head.
std::int64_t queries_per_task(std::int64_t group, std::int64_t keys) {
  const std::int64_t rows =
      std::clamp<std::int64_t>(kScoreFloats / std::max<std::int64_t>(keys, 1), 14, kMaxAttendRows);
  return std::max<std::int64_t>(rows / group, 1);
}

struct Task {
  std::int64_t begin;     // first row of qkv
  std::int64_t count;     // rows
  std::int64_t position;  // of the first row in its document
  std::int64_t tiles;     // index of the document's (or sequence's) first tile
};

// Calls attend for rows `task` and one kv head, in pieces of at most kMaxAttendRows heads.
struct Attention {
  const Kernels& kernels;
  const QkvShape& shape;
  const float* qkv;
  float* out;
  float* lse;  // null: not wanted
  float scale;

  void run(std::int64_t begin, std::int64_t queries, std::int64_t first_position, std::int64_t kv_head,
           const float* const* k_tiles, std::int64_t k_stride, const float* const* v_tiles,
           std::int64_t v_stride) const {
    const std::int64_t group = shape.num_heads / shape.num_kv_heads;
    for (std::int64_t h = 0; h < group; h += kMaxAttendRows) {
      const std::int64_t heads = std::min(group - h, kMaxAttendRows);
      std::array<const float*, kMaxAttendRows> q;
      std::array<float*, kMaxAttendRows> o;
      std::array<float*, kMaxAttendRows> l;
      std::array<std::int64_t, kMaxAttendRows> counts;
      const std::int64_t per_call = std::max<std::int64_t>(kMaxAttendRows / heads, 1);
      for (std::int64_t first = 0; first < queries; first += per_call) {
        std::size_t rows = 0;
        for (std::int64_t i = first; i < std::min(queries, first + per_call); ++i) {
          for (std::int64_t j = 0; j < heads; ++j) {
            const std::int64_t head = kv_head * group + h + j;
            q[rows] = qkv + (begin + i) * shape.width() + head * shape.head_dim;
            o[rows] = out + ((begin + i) * shape.num_heads + head) * shape.head_dim;
            l[rows] = lse != nullptr ? lse + (begin + i) * shape.num_heads + head : nullptr;
            counts[rows] = first_position + i + 1;
            ++rows;
          }
        }
        AttendArgs args;
        args.rows = static_cast<std::int64_t>(rows);
        args.head_dim = shape.head_dim;
        args.scale = scale;
        args.q = q.data();
        args.out = o.data();
        args.lse = lse != nullptr ? l.data() : nullptr;
        args.counts = counts.data();
        args.k_tiles = k_tiles;
        args.k_stride = k_stride;
        args.v_tiles = v_tiles;
        args.v_stride = v_stride;
        args.scratch = thread_scratch(Scratch::kAttention, attend_scratch(args.rows, counts[rows - 1]));
        kernels.attend(args);
      }
    }
  }
};

}  // namespace

void attention_forward(const Context& ctx, const Tensor& out, const Tensor& lse, const Tensor& qkv,
                       const Tensor& cu_seqlens, const QkvShape& shape, float scale) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t documents = cu_seqlens.dim(0) - 1;
  const std::int32_t* cu = cu_seqlens.i32();
  const std::int64_t group = shape.num_heads / shape.num_kv_heads;
  const std::int64_t dim = shape.head_dim;
  const std::int64_t width = shape.width();
  const float* k = qkv.f32() + shape.num_heads * dim;
  const float* v = k + shape.num_kv_heads * dim;

  // Tasks of queries, and for every document its range of tiles; a tile knows its row.
  struct Tile {
    std::int64_t row;
    std::int64_t count;
  };
  std::vector<Task>& tasks = reused<Task>();
  std::vector<Tile>& tiles = reused<Tile>();
  double work = 0;
  for (std::int64_t d = 0; d < documents; ++d) {
    const std::int64_t begin = cu[d];
    const std::int64_t length = cu[d + 1] - begin;
    const std::int64_t queries = queries_per_task(group, length);
    const auto first_tile = static_cast<std::int64_t>(tiles.size());
    for (std::int64_t i = 0; i < length; i += queries) {
      tasks.push_back({begin + i, std::min(queries, length - i), i, first_tile});
    }
    for (std::int64_t i = 0; i < length; i += kTile)
      tiles.push_back({begin + i, std::min(kTile, length - i)});
    work += causal_work(length, shape);
  }
  // The longest tasks first, so that threads end together.
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.position + a.count > b.position + b.count; });

  // K^T of every kv head in tiles [head_dim][16], and V in rows one after the other: in qkv its rows are
  // apart by a power of two for most models, which would meet in a few sets of the caches.
  const auto num_tiles = static_cast<std::int64_t>(tiles.size());
  const std::int64_t tile_size = dim * kTile;
  float* k_packed = thread_scratch(Scratch::kAttentionTiles, 2 * shape.num_kv_heads * num_tiles * tile_size);
  float* v_packed = k_packed + shape.num_kv_heads * num_tiles * tile_size;
  std::vector<const float*>& pointers = reused<const float*>();
  pointers.resize(static_cast<std::size_t>(2 * shape.num_kv_heads * num_tiles));
  const float** k_tiles = pointers.data();
  const float** v_tiles = k_tiles + shape.num_kv_heads * num_tiles;
  parallel(ctx, shape.num_kv_heads * num_tiles,
           8.0 * static_cast<double>(qkv.dim(0) * shape.num_kv_heads * dim), [&](std::int64_t i) {
             const std::int64_t head = i / num_tiles;
             const Tile& tile = tiles[static_cast<std::size_t>(i % num_tiles)];
             k_tiles[i] = k_packed + i * tile_size;
             v_tiles[i] = v_packed + i * tile_size;
             const std::int64_t offset = tile.row * width + head * dim;
             kernels.transpose_tile(k_packed + i * tile_size, kTile, k + offset, width, tile.count, dim);
             for (std::int64_t j = 0; j < tile.count; ++j) {
               std::copy_n(v + offset + j * width, dim, v_packed + i * tile_size + j * dim);
             }
           });

  const Attention attention = {kernels, shape, qkv.f32(), out.f32(), lse.f32(), scale};
  parallel(ctx, static_cast<std::int64_t>(tasks.size()) * shape.num_kv_heads, work, [&](std::int64_t i) {
    const Task& task = tasks[static_cast<std::size_t>(i / shape.num_kv_heads)];
    const std::int64_t head = i % shape.num_kv_heads;
    const std::int64_t first = head * num_tiles + task.tiles;
    attention.run(task.begin, task.count, task.position, head, k_tiles + first, kTile, v_tiles + first, dim);
  });
}

void kv_write(const Context& ctx, const KvPages& pages, const Tensor& qkv, const Tensor& slots,
              const QkvShape& shape) {
  const std::int64_t page_size = pages.page_size();
  const std::int64_t dim = shape.head_dim;
  const std::int64_t page_floats = page_size * shape.num_kv_heads * dim;
  const std::int32_t* slot = slots.i32();
  parallel_blocks(ctx, qkv.dim(0), 64, 2.0 * static_cast<double>(qkv.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    for (std::int64_t t = r; t < r + count; ++t) {
                      const std::int64_t page = slot[t] / page_size;
                      const std::int64_t offset = slot[t] % page_size;
                      const float* k = qkv.f32() + t * shape.width() + shape.num_heads * dim;
                      const float* v = k + shape.num_kv_heads * dim;
                      float* to_k = pages.k.f32() + page * page_floats + offset;
                      float* to_v = pages.v.f32() + page * page_floats + offset * dim;
                      for (std::int64_t i = 0; i < shape.num_kv_heads * dim; ++i) to_k[i * page_size] = k[i];
                      for (std::int64_t head = 0; head < shape.num_kv_heads; ++head) {
                        std::copy_n(v + head * dim, dim, to_v + head * page_size * dim);
                      }
                    }
                  });
}

void attention_paged(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                     const Tensor& positions, const Tensor& sequence_of, const Tensor& block_tables,
                     const QkvShape& shape, float scale) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t rows = qkv.dim(0);
  const std::int64_t dim = shape.head_dim;
  const std::int64_t group = shape.num_heads / shape.num_kv_heads;
  const std::int64_t page_size = pages.page_size();
  const std::int64_t page_floats = page_size * shape.num_kv_heads * dim;
  const std::int64_t max_pages = block_tables.dim(1);
  const std::int32_t* position = positions.i32();
  const std::int32_t* sequence = sequence_of.i32();

  // Runs of rows of one sequence at consecutive positions are chunks of a prefill: they share a walk over the
  // keys.
  std::vector<Task>& tasks = reused<Task>();
  double work = 0;
  for (std::int64_t t = 0; t < rows;) {
    std::int64_t end = t + 1;
    while (end < rows && sequence[end] == sequence[t] && position[end] == position[end - 1] + 1) ++end;
    const std::int64_t queries = queries_per_task(group, position[end - 1] + 1);
    for (; t < end; t += queries) {
      const std::int64_t count = std::min(queries, end - t);
      tasks.push_back({t, count, position[t], 0});
      work += 2.0 * static_cast<double>(count * (position[t] + count) * shape.num_heads * dim);
    }
    t = end;
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) {
    return a.count * (a.position + a.count) > b.count * (b.position + b.count);
  });

  const Attention attention = {kernels, shape, qkv.f32(), out.f32(), nullptr, scale};
  const bool in_place = page_size % kTile == 0;
  parallel(ctx, static_cast<std::int64_t>(tasks.size()) * shape.num_kv_heads, work, [&](std::int64_t i) {
    const Task& task = tasks[static_cast<std::size_t>(i / shape.num_kv_heads)];
    const std::int64_t head = i % shape.num_kv_heads;
    const std::int64_t keys = task.position + task.count;
    const std::int64_t num_tiles = blocks_of(keys, kTile);
    const std::int32_t* table = block_tables.i32() + sequence[task.begin] * max_pages;
    std::vector<const float*>& pointers = reused<const float*>();
    pointers.resize(static_cast<std::size_t>(2 * num_tiles));
    const float** k_tiles = pointers.data();
    const float** v_tiles = k_tiles + num_tiles;
    if (in_place) {
      for (std::int64_t t = 0; t < num_tiles; ++t) {
        const std::int64_t offset = t * kTile % page_size;
        const std::int64_t base = table[t * kTile / page_size] * page_floats + head * page_size * dim;
        k_tiles[t] = pages.k.f32() + base + offset;
        v_tiles[t] = pages.v.f32() + base + offset * dim;
      }
      attention.run(task.begin, task.count, task.position, head, k_tiles, page_size, v_tiles, dim);
      return;
    }
    // Other page sizes: the keys are first gathered into tiles.
    float* k_packed = thread_scratch(Scratch::kAttentionTiles, 2 * num_tiles * kTile * dim);
    float* v_packed = k_packed + num_tiles * kTile * dim;
    for (std::int64_t t = 0; t < num_tiles; ++t) {
      k_tiles[t] = k_packed + t * kTile * dim;
      v_tiles[t] = v_packed + t * kTile * dim;
      const std::int64_t count = std::min(kTile, keys - t * kTile);
      std::fill_n(k_packed + t * kTile * dim, kTile * dim, 0.0F);
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t key = t * kTile + j;
        const std::int64_t base = table[key / page_size] * page_floats + head * page_size * dim;
        const float* k = pages.k.f32() + base + key % page_size;
        const float* v = pages.v.f32() + base + key % page_size * dim;
        for (std::int64_t d = 0; d < dim; ++d) k_packed[(t * dim + d) * kTile + j] = k[d * page_size];
        std::copy_n(v, dim, v_packed + (t * kTile + j) * dim);
      }
    }
    attention.run(task.begin, task.count, task.position, head, k_tiles, kTile, v_tiles, dim);
  });
}

}  // namespace rlcpp::ops::cpu
