// Attention of a few rows that decode, from the product's q, k and v to its output. A cluster of blocks has
// one row and one kv head; its warps take tiles of 16 keys in turn and merge in order, first in a block, then
// over the cluster's shared memory. A warp keeps a tile in registers, as it comes from the page: scores are
// products of the tensor cores, whose rows are the query heads, with K permuted alike in both operands
// (narrow_product.cu); the weighted sum of values is made by ordinary arithmetic, a lane a few dims.
//
// The pages of the first tiles are read before the product in front has ended: the row's own key is not
// among them, every block makes it for itself.
#include "ops/cuda/few_rows.h"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/overlap.cuh"
#include "ops/cuda/paged_args.cuh"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kFewWarps = 8;     // of a block
constexpr int kFewTile = 16;     // keys
constexpr int kMostCluster = 8;  // blocks
constexpr int kMostGroup = 8;    // query heads of a kv head
constexpr float kNone = -1e30F;  // below every score; finite, so that differences are no NaN

struct FewArgs {
  PagedArgs paged;
  const bf16 *q_norm, *k_norm;
  const float *cos, *sin;
  float eps, scale_log2;
  int cluster;
};

// Weights relative to a maximum, of scores in the units of the products.
__device__ inline float weight_of(const FewArgs& args, float score, float most) {
  return exp2f((score - most) * args.scale_log2);
}

template <int kDim, int kGroup>
struct FewMemory {
  bf16 heads[kGroup + 2][kDim];  // q of the group, k, v, normed and rotated
  float weights[kFewWarps][kGroup][kFewTile];
  float shrink[kFewWarps][kGroup];
  // Sums of each warp and, last, of the row's own key.
  float out[kFewWarps + 1][kGroup][kDim];
  float most[kFewWarps + 1][kGroup], total[kFewWarps + 1][kGroup];
  // Of the block, which the others of the cluster read.
  float block_out[kGroup][kDim], block_most[kGroup], block_total[kGroup];
};

// kDim / 32 neighbouring elements of a row.
template <int kDim>
struct alignas(kDim / 16) LaneDims {
  std::uint32_t word[kDim / 64];
  __device__ float2 pair(int i) const { return unpack_bf16(word[i]); }
};

// The keys and values of 16 positions: of key 8 n + lane / 4, 16-byte vectors lane % 4, 4 + lane % 4, ...; of
// every value, the lane's dims.
template <int kDim>
struct FewTile {
  uint4 k[kFewTile / 8][kDim / 32];
  LaneDims<kDim> v[kFewTile];

  // Zeros from `keys` on.
  __device__ void load(const PagedArgs& args, const std::int32_t* table, int kv_head, int tile, int keys) {
    int lane = static_cast<int>(threadIdx.x) % kWarp;
    asm volatile("" : "+r"(lane));  // places are computed again for every tile: keeping them costs spills
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int block = 0; block < kFewTile / 16; ++block) {
      const int begin = tile * kFewTile + 16 * block;
      const bool any = begin < keys;
      const std::int64_t from =
          any ? page_offset(args, table[begin / args.page_size], kv_head, begin % args.page_size) : 0;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const bf16* const row = args.k_pages + from + (8 * half + g) * kDim;
#pragma unroll
        for (int s = 0; s < kDim / 32; ++s) {
          const bool there = begin + 8 * half + g < keys;
          k[2 * block + half][s] =
              there ? *reinterpret_cast<const uint4*>(row + ((4 * s + t) ^ g) * kVector) : uint4{};
        }
      }
      constexpr int kLaneDims = kDim / 32, kLanes = kVector / kLaneDims;  // lanes at a vector
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        LaneDims<kDim>& to = v[16 * block + j];
        const bf16* const row = args.v_pages + from + j * kDim;
        const bf16* const at = row + ((lane / kLanes) ^ (j % 8)) * kVector + lane % kLanes * kLaneDims;
        to = begin + j < keys ? *reinterpret_cast<const LaneDims<kDim>*>(at) : LaneDims<kDim>{};
      }
    }
  }
};

// Head `from` with its norm and its rotation to `to`, or as it is; by one warp.
template <int kDim>
__device__ void make_head(bf16* to, const bf16* from, const bf16* gain, const float* cos, const float* sin,
                          float eps, bool rotated) {
  constexpr int kHalf = kDim / 2, kPairs = kHalf / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float a[kPairs], b[kPairs], squares = 0.0F;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    a[i] = to_float(from[lane + kWarp * i]);
    b[i] = to_float(from[lane + kWarp * i + kHalf]);
    squares += a[i] * a[i] + b[i] * b[i];
  }
  if (gain != nullptr) {
    const float factor = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(kDim) + eps);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      a[i] = a[i] * factor * to_float(gain[lane + kWarp * i]);
      b[i] = b[i] * factor * to_float(gain[lane + kWarp * i + kHalf]);
    }
  }
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int at = lane + kWarp * i;
    const float c = rotated ? cos[at] : 1.0F, s = rotated ? sin[at] : 0.0F;
    to[at] = __float2bfloat16_rn(a[i] * c - b[i] * s);
    to[at + kHalf] = __float2bfloat16_rn(b[i] * c + a[i] * s);
  }
}

__device__ inline int cluster_rank_of(int cluster) {
  return static_cast<int>(blockIdx.x) % cluster;
}
__device__ inline void meet_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// What block `rank` of the cluster has where this block has `mine` in shared memory.
__device__ inline float of_block(const float* mine, int rank) {
  float value = 0.0F;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [there];\n"
      "}\n"
      : "=f"(value)
      : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(mine))), "r"(rank)
      : "memory");
#endif
  return value;
}

template <int kDim, int kGroup>
__global__ void __launch_bounds__(kFewWarps* kWarp, 2)
    few_attention_kernel(const __grid_constant__ FewArgs args) {
  __shared__ __align__(16) FewMemory<kDim, kGroup> memory;
  const PagedArgs& paged = args.paged;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4, group = paged.group;
  const int rank = cluster_rank_of(args.cluster);
  const int unit = static_cast<int>(blockIdx.x) / args.cluster;
  const int row = unit / paged.num_kv_heads, kv_head = unit % paged.num_kv_heads;
  const int position = paged.positions[row];  // and so many keys are in pages
  const std::int32_t* const table = paged.block_tables + paged.sequence_of[row] * paged.max_pages;
  const int tiles = (position + kFewTile - 1) / kFewTile, step = args.cluster * kFewWarps;
  int tile = rank * kFewWarps + warp;

  FewTile<kDim> held;
  held.load(paged, table, kv_head, tile, position);
  let_next_begin();
  wait_for_previous();

  const bf16* const heads = paged.qkv + row * paged.width;
  const std::int64_t angle = static_cast<std::int64_t>(position) * (kDim / 2);
#pragma unroll 1
  for (int h = warp; h < group + 2; h += kFewWarps) {
    const int head =
        h < group ? kv_head * group + h : paged.num_heads + (h - group) * paged.num_kv_heads + kv_head;
    const bf16* const gain = h < group ? args.q_norm : h == group ? args.k_norm : nullptr;
    make_head<kDim>(memory.heads[h], heads + head * kDim, gain, args.cos + angle, args.sin + angle, args.eps,
                    h <= group);
  }
  __syncthreads();
  const bf16* const new_k = memory.heads[group];
  const bf16* const new_v = memory.heads[group + 1];
  if (rank == 0) {
    const int slot = paged.slots[row], place = slot % paged.page_size;
    const std::int64_t to = page_offset(paged, slot / paged.page_size, kv_head, place);
    if (const int vector = static_cast<int>(threadIdx.x); vector < 2 * kDim / kVector) {
      const bool is_v = vector >= kDim / kVector;
      const int column = vector % (kDim / kVector) * kVector;
      bf16* const page = (is_v ? paged.v_pages : paged.k_pages) + to + page_column(paged, place, column);
      *reinterpret_cast<uint4*>(page) = *reinterpret_cast<const uint4*>((is_v ? new_v : new_k) + column);
    }
  }
  // The row's own key: a source of sums like a warp.
#pragma unroll 1
  for (int h = warp; h < group; h += kFewWarps) {
    float dot = 0.0F;
    for (int d = lane; d < kDim; d += kWarp) {
      dot += to_float(memory.heads[h][d]) * to_float(new_k[d]);
      memory.out[kFewWarps][h][d] = rank == 0 ? to_float(new_v[d]) : 0.0F;
    }
    dot = warp_sum(dot);
    if (lane == 0) {
      memory.most[kFewWarps][h] = rank == 0 ? dot : kNone;
      memory.total[kFewWarps][h] = rank == 0 ? 1.0F : 0.0F;
    }
  }

  // Row g of the product is head g; the others are zeros.
  uint4 q[kDim / 32];
#pragma unroll
  for (int s = 0; s < kDim / 32; ++s) {
    q[s] = g < group ? *reinterpret_cast<const uint4*>(&memory.heads[g][32 * s + t * kVector]) : uint4{};
  }
  float most = kNone, total = 0.0F;  // of head g; total: of the lane's keys
  float out[kGroup][kDim / 32] = {};
#pragma unroll 1
  for (; tile < tiles; tile += step) {
    float scores[kFewTile / 8][4] = {};
#pragma unroll
    for (int n = 0; n < kFewTile / 8; ++n) {
#pragma unroll
      for (int s = 0; s < kDim / 32; ++s) {
        const uint4& k = held.k[n][s];
        product_step(scores[n], {q[s].x, 0, q[s].y, 0}, k.x, k.y);
        product_step(scores[n], {q[s].z, 0, q[s].w, 0}, k.z, k.w);
      }
    }
    float larger = most;
#pragma unroll
    for (int n = 0; n < kFewTile / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (tile * kFewTile + 8 * n + 2 * t + i >= position) scores[n][i] = kNone;
        larger = fmaxf(larger, scores[n][i]);
      }
    }
    larger = warp_reduce<4>(larger, Max());
    const float shrink = weight_of(args, most, larger);
    total *= shrink;
    most = larger;
    if (g < group) {
#pragma unroll
      for (int n = 0; n < kFewTile / 8; ++n) {
        const float2 p = {weight_of(args, scores[n][0], larger), weight_of(args, scores[n][1], larger)};
        total += p.x + p.y;
        *reinterpret_cast<float2*>(&memory.weights[warp][g][8 * n + 2 * t]) = p;
      }
      if (t == 0) memory.shrink[warp][g] = shrink;
    }
    __syncwarp();
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      const float factor = memory.shrink[warp][h < group ? h : 0];
#pragma unroll
      for (float& value : out[h]) value *= factor;
    }
#pragma unroll
    for (int j = 0; j < kFewTile; j += 4) {
      float2 v[4][kDim / 64];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int d = 0; d < kDim / 64; ++d) v[i][d] = held.v[j + i].pair(d);
      }
#pragma unroll
      for (int h = 0; h < kGroup; ++h) {
        if (h >= group) break;
        const float4 four = *reinterpret_cast<const float4*>(&memory.weights[warp][h][j]);
        const float p[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int d = 0; d < kDim / 64; ++d) {
            out[h][2 * d] = fmaf(p[i], v[i][d].x, out[h][2 * d]);
            out[h][2 * d + 1] = fmaf(p[i], v[i][d].y, out[h][2 * d + 1]);
          }
        }
      }
    }
    __syncwarp();
    if (tile + step < tiles) held.load(paged, table, kv_head, tile + step, position);
  }
  total = warp_sum<4>(total);
  if (t == 0 && g < group) {
    memory.most[warp][g] = most;
    memory.total[warp][g] = total;
  }
#pragma unroll
  for (int h = 0; h < kGroup; ++h) {
    if (h >= group) break;
#pragma unroll
    for (int d = 0; d < kDim / 32; ++d) memory.out[warp][h][lane * (kDim / 32) + d] = out[h][d];
  }
  __syncthreads();

  bf16* const to = paged.out + row * paged.out_width + kv_head * group * kDim;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < group * kDim; i += kFewWarps * kWarp) {
    const int h = i / kDim, d = i % kDim;
    float highest = memory.most[0][h];
#pragma unroll
    for (int w = 1; w <= kFewWarps; ++w) highest = fmaxf(highest, memory.most[w][h]);
    float sum = 0.0F, weights = 0.0F;
#pragma unroll
    for (int w = 0; w <= kFewWarps; ++w) {
      const float weight = weight_of(args, memory.most[w][h], highest);
      sum = fmaf(weight, memory.out[w][h][d], sum);
      weights = fmaf(weight, memory.total[w][h], weights);
    }
    if (args.cluster == 1) {
      to[i] = __float2bfloat16_rn(__fdividef(sum, weights));
      continue;
    }
    memory.block_out[h][d] = sum;
    if (d == 0) {
      memory.block_most[h] = highest;
      memory.block_total[h] = weights;
    }
  }
  if (args.cluster == 1) return;
  meet_cluster();
#pragma unroll 1
  for (int i = rank * kFewWarps * kWarp + static_cast<int>(threadIdx.x); i < group * kDim;
       i += args.cluster * kFewWarps * kWarp) {
    const int h = i / kDim, d = i % kDim;
    float mosts[kMostCluster], highest = kNone;
#pragma unroll
    for (int r = 0; r < kMostCluster; ++r) {
      mosts[r] = r < args.cluster ? of_block(&memory.block_most[h], r) : kNone;
      highest = fmaxf(highest, mosts[r]);
    }
    float sum = 0.0F, weights = 0.0F;
#pragma unroll
    for (int r = 0; r < kMostCluster; ++r) {
      if (r >= args.cluster) break;
      const float weight = weight_of(args, mosts[r], highest);
      sum = fmaf(weight, of_block(&memory.block_out[h][d], r), sum);
      weights = fmaf(weight, of_block(&memory.block_total[h], r), weights);
    }
    to[i] = __float2bfloat16_rn(__fdividef(sum, weights));
  }
  meet_cluster();  // nobody leaves while another still reads
}

using FewKernel = void (*)(FewArgs);

template <int kDim>
FewKernel few_kernel(int group) {
  return group <= 2   ? few_attention_kernel<kDim, 2>
         : group <= 4 ? few_attention_kernel<kDim, 4>
                      : few_attention_kernel<kDim, kMostGroup>;
}

}  // namespace

bool takes_few_rows(const Context& ctx, const FewRowsShape& shape) {
  static const bool overlaps = [] {
    cudaFuncAttributes attributes{};
    const bool found = cudaFuncGetAttributes(&attributes, few_attention_kernel<128, 2>) == cudaSuccess;
    if (!found) cudaGetLastError();
    return found && attributes.ptxVersion >= 90;
  }();
  const QkvShape& qkv = shape.qkv;
  const auto depth = [](std::int64_t k) { return k % 32 == 0; };
  return overlaps && ctx.cuda != nullptr && (qkv.head_dim == 64 || qkv.head_dim == 128) &&
         qkv.num_heads / qkv.num_kv_heads <= kMostGroup && shape.page_size % 16 == 0 && depth(shape.hidden) &&
         depth(shape.intermediate) && depth(qkv.num_heads * qkv.head_dim);
}

void attention_few(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                   const FewRowsAttention& how, const QkvShape& shape) {
  FewArgs args = {};
  PagedArgs& paged = args.paged;
  paged = paged_args(pages, qkv, shape);
  if (paged.rows == 0) return;
  RLCPP_CHECK(paged.swizzled && paged.group <= kMostGroup && paged.page_size % 16 == 0 &&
              (paged.head_dim == 64 || paged.head_dim == 128));
  paged.out = address<bf16>(out);
  paged.slots = address<const std::int32_t>(how.slots);
  paged.positions = address<const std::int32_t>(how.positions);
  paged.sequence_of = address<const std::int32_t>(how.sequence_of);
  paged.block_tables = address<const std::int32_t>(how.block_tables);
  paged.max_pages = how.block_tables.dim(1);
  args.q_norm = address<const bf16>(how.q_norm);
  args.k_norm = address<const bf16>(how.k_norm);
  args.cos = address<const float>(how.cos);
  args.sin = address<const float>(how.sin);
  args.eps = how.eps;
  args.scale_log2 = how.scale * static_cast<float>(M_LOG2E);
  // One block a multiprocessor: the kernels around it need room too.
  const std::int64_t units = paged.rows * paged.num_kv_heads;
  args.cluster = kMostCluster;
  while (args.cluster > 1 && units * args.cluster > ctx.cuda->multiprocessors()) args.cluster /= 2;
  const OverlappedLaunch launch = {.blocks = grid_of(units * args.cluster),
                                   .threads = kFewWarps * kWarp,
                                   .cluster = static_cast<unsigned>(args.cluster)};
  const FewKernel kernel = paged.head_dim == 64 ? few_kernel<64>(paged.group) : few_kernel<128>(paged.group);
  launch_overlapped(ctx, kernel, launch, args, "attention_few");
}

}  // namespace rlcpp::ops::cuda
