// The gradient of attention: who computes which part of it.
#include <algorithm>
#include <vector>

#include "ops/cpu/attention.h"
#include "ops/cpu/attention_work.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

// One document and one kv head, or the results of one block of it (simd/attention_backward.inl).
struct Part {
  enum class Kind : std::uint8_t { kWhole, kKeys, kQueries };
  double work;
  std::int32_t document;
  std::int32_t kv_head;
  Kind kind;
  std::int32_t head;   // kQueries: of the group
  std::int64_t first;  // key or query of the block
};

// Documents that are more than a thread's share of the work are cut: 1.4 times the work, but no thread waits
// for another's. The cut changes no bit, so it may depend on the number of threads.
std::vector<Part>& parts_of(const std::int32_t* cu, std::int64_t documents, const QkvShape& shape,
                            int threads) {
  std::vector<Part>& parts = reused<Part>();
  double total = 0;
  for (std::int64_t d = 0; d < documents; ++d) total += causal_work(cu[d + 1] - cu[d], shape);
  const auto group = static_cast<std::int32_t>(shape.num_heads / shape.num_kv_heads);
  const auto kv_heads = static_cast<std::int32_t>(shape.num_kv_heads);
  for (std::int32_t d = 0; d < documents; ++d) {
    const std::int64_t length = cu[d + 1] - cu[d];
    const std::int64_t blocks = blocks_of(length, kBackwardBlock);
    const double whole = causal_work(length, shape) / kv_heads;
    const bool cut = threads > 1 && blocks > 1 && whole > 1.01 * total / threads;
    // Of five products over blocks (blocks + 1) / 2 pairs and the heads of the group.
    const double product = whole / (2.5 * group * static_cast<double>(blocks * (blocks + 1)));
    for (std::int32_t h = 0; h < kv_heads; ++h) {
      if (!cut) {
        parts.push_back({whole, d, h, Part::Kind::kWhole, 0, 0});
        continue;
      }
      for (std::int64_t b = 0; b < blocks; ++b) {
        parts.push_back({4 * product * group * static_cast<double>(blocks - b), d, h, Part::Kind::kKeys, 0,
                         b * kBackwardBlock});
        for (std::int32_t i = 0; i < group; ++i) {
          parts.push_back(
              {3 * product * static_cast<double>(b + 1), d, h, Part::Kind::kQueries, i, b * kBackwardBlock});
        }
      }
    }
  }
  // The longest first, so that threads end together.
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.work > b.work; });
  return parts;
}

}  // namespace

void attention_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dout, const Tensor& out,
                        const Tensor& lse, const Tensor& qkv, const Tensor& delta, const Tensor& cu_seqlens,
                        const QkvShape& shape, float scale) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t rows = qkv.dim(0);
  const std::int64_t heads = shape.num_heads;
  const std::int64_t dim = shape.head_dim;
  const std::int64_t width = shape.width();
  const std::int64_t kv_heads = shape.num_kv_heads;
  const std::int64_t group = heads / kv_heads;
  const std::int64_t documents = cu_seqlens.dim(0) - 1;
  const std::int32_t* cu = cu_seqlens.i32();
  parallel_blocks(ctx, rows, 64, 2.0 * static_cast<double>(rows * heads * dim),
                  [&](std::int64_t r, std::int64_t count) {
                    for (std::int64_t i = r * heads; i < (r + count) * heads; ++i) {
                      delta.f32()[i] = kernels.dot(dout.f32() + i * dim, out.f32() + i * dim, dim);
                    }
                  });

  // K^T and V^T in tiles and K in rows, packed for all: [kv head][tile of the documents, one after the
  // other].
  std::vector<std::int64_t>& first_tile = reused<std::int64_t>();
  std::int64_t tiles = 0;
  double work = 0;
  for (std::int64_t d = 0; d < documents; ++d) {
    first_tile.push_back(tiles);
    // An even number: two tiles are read at a time.
    tiles += blocks_of(cu[d + 1] - cu[d], 2 * kTile) * 2;
    work += 2.5 * causal_work(cu[d + 1] - cu[d], shape);
  }
  const std::int64_t tile_size = dim * kTile;
  float* k_tiles = thread_scratch(Scratch::kAttentionTiles, 3 * kv_heads * tiles * tile_size);
  float* v_tiles = k_tiles + kv_heads * tiles * tile_size;
  float* k_rows = v_tiles + kv_heads * tiles * tile_size;
  const float* k = qkv.f32() + heads * dim;
  const float* v = k + kv_heads * dim;
  parallel(ctx, documents * kv_heads, 12.0 * static_cast<double>(rows * kv_heads * dim), [&](std::int64_t i) {
    const std::int64_t document = i / kv_heads;
    const std::int64_t kv_head = i % kv_heads;
    const std::int64_t length = cu[document + 1] - cu[document];
    for (std::int64_t t = 0; t * kTile < length; ++t) {
      const std::int64_t count = std::min(kTile, length - t * kTile);
      const std::int64_t from = (cu[document] + t * kTile) * width + kv_head * dim;
      const std::int64_t to =
          (kv_head * tiles + first_tile[static_cast<std::size_t>(document)] + t) * tile_size;
      kernels.transpose_tile(k_tiles + to, kTile, k + from, width, count, dim);
      kernels.transpose_tile(v_tiles + to, kTile, v + from, width, count, dim);
      for (std::int64_t j = 0; j < count; ++j) std::copy_n(k + from + j * width, dim, k_rows + to + j * dim);
    }
  });

  const std::vector<Part>& parts = parts_of(cu, documents, shape, ctx.pool != nullptr ? ctx.pool->size() : 1);
  parallel(ctx, static_cast<std::int64_t>(parts.size()), work, [&](std::int64_t i) {
    const Part& part = parts[static_cast<std::size_t>(i)];
    const std::int64_t row = cu[part.document];
    const std::int64_t q_offset = row * width + part.kv_head * group * dim;
    const std::int64_t k_offset = row * width + (heads + part.kv_head) * dim;
    const std::int64_t packed =
        (part.kv_head * tiles + first_tile[static_cast<std::size_t>(part.document)]) * tile_size;
    AttendBackwardArgs args;
    args.length = cu[part.document + 1] - row;
    args.head_dim = dim;
    args.group = group;
    args.scale = scale;
    args.width = width;
    args.out_width = heads * dim;
    args.heads = heads;
    args.q = qkv.f32() + q_offset;
    args.k_tiles = k_tiles + packed;
    args.v_tiles = v_tiles + packed;
    args.k = k_rows + packed;
    args.dout = dout.f32() + row * heads * dim + part.kv_head * group * dim;
    args.lse = lse.f32() + row * heads + part.kv_head * group;
    args.delta = delta.f32() + row * heads + part.kv_head * group;
    args.dq = dqkv.f32() + q_offset;
    args.dk = dqkv.f32() + k_offset;
    args.dv = dqkv.f32() + k_offset + kv_heads * dim;
    const std::int64_t keys = part.kind == Part::Kind::kWhole ? args.length : kBackwardBlock;
    args.scratch = thread_scratch(Scratch::kAttention, attend_backward_scratch(keys, dim));
    if (part.kind == Part::Kind::kKeys) {
      kernels.attend_backward_keys(args, part.first);
    } else if (part.kind == Part::Kind::kQueries) {
      kernels.attend_backward_queries(args, part.head, part.first);
    } else {
      kernels.attend_backward(args);
    }
  });
}

}  // namespace rlcpp::ops::cpu
