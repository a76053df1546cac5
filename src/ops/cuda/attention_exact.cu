// A block takes up to 64 query rows of one document and kv head, a warp 16 of them. Keys and values come in
// tiles of 64, two on their way, and are put where a page would have them.
#include "ops/cuda/attention_exact.h"
#include "ops/cuda/paged_args.cuh"
#include "ops/cuda/paged_tile.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kExactWarps = kPrefillRows / 16;
constexpr int kExactThreads = kExactWarps * kWarp;
constexpr int kExactStages = 2;

struct ExactArgs {
  const bf16* qkv;
  bf16* out;
  float* lse;
  const std::int32_t* cu_seqlens;
  std::int64_t width, out_width;
  int documents, num_heads, num_kv_heads, group, tokens;  // tokens of a block
  float scale_log2;
};

#if RLCPP_SM90A

template <int kDim>
struct ExactMemory {
  bf16 k[kExactStages][kTileKeys * kDim];
  bf16 v[kExactStages][kTileKeys * kDim];
};

// 16 bytes into shared memory, or zeros.
__device__ inline void copy_vector(std::uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}

// Blocks are numbered so that each document has enough: the first of document d is cu_seqlens[d] / tokens +
// d. Returns the document of block `block`.
__device__ inline int document_of(const ExactArgs& args, int block) {
  int low = 0, high = args.documents - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (args.cu_seqlens[middle] / args.tokens + middle <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <int kDim>
__device__ void exact_body(const ExactArgs& args) {
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<ExactMemory<kDim>*>(raw);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  // The last blocks have the most keys: they begin first.
  const int block = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  const int document = document_of(args, block);
  const int begin_row = args.cu_seqlens[document], length = args.cu_seqlens[document + 1] - begin_row;
  const int position = (block - begin_row / args.tokens - document) * args.tokens;
  if (position >= length) return;
  const int count = min(args.tokens, length - position);
  const int keys = position + count;
  const int tiles = (keys + kTileKeys - 1) / kTileKeys;
  const int kv_head = static_cast<int>(blockIdx.y);

  const bf16* const k_rows = args.qkv + begin_row * args.width + (args.num_heads + kv_head) * kDim;
  const bf16* const v_rows = k_rows + args.num_kv_heads * kDim;
  constexpr int kVectors = kDim / kVector;
  const auto load = [&](int tile, int stage) {
    if (tile < tiles) {
#pragma unroll
      for (int i = thread; i < kTileKeys * kVectors; i += kExactThreads) {
        const int key = i / kVectors, vector = i % kVectors;
        const bool there = tile * kTileKeys + key < keys;
        const std::int64_t from = there ? (tile * kTileKeys + key) * args.width + vector * kVector : 0;
        const int to = key * kDim + (vector ^ key % 8) * kVector;
        copy_vector(shared_address(memory.k[stage] + to), k_rows + from, there);
        copy_vector(shared_address(memory.v[stage] + to), v_rows + from, there);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  load(0, 0);

  const TokenRows<kDim> rows(args.qkv, args.width, args.group, kv_head, begin_row + position, position,
                             count);
  RowSums<kDim> sums, all;
  sums.clear();
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kExactStages, begin = tile * kTileKeys;
    load(tile + 1, (tile + 1) % kExactStages);
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    if (begin <= rows.last_last) {
      rows.attend(sums, memory.k[stage], memory.v[stage], begin, keys, args.scale_log2);
    }
    __syncthreads();  // the stage is read: the next round overwrites it
    if (tile % kChunkTiles != kChunkTiles - 1 && tile + 1 < tiles) continue;
    merge_chunk<kDim>(all, sums, tile < kChunkTiles, args.scale_log2);
    sums.clear();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (rows.last_key[half] < 0) continue;
    const std::int64_t row = rows.row[half];
    store_row<kDim>(args.out + row * args.out_width + rows.head[half] * kDim + lane % 4 * 2, all, half);
    if (lane % 4 == 0) {
      constexpr float kLn2 = 0.693147180559945F;
      args.lse[row * args.num_heads + rows.head[half]] =
          (all.most[half] * args.scale_log2 + log2f(all.total[half])) * kLn2;
    }
  }
}

#endif

template <int kDim>
__global__ void __launch_bounds__(kExactThreads, 2) exact_kernel(const __grid_constant__ ExactArgs args) {
#if RLCPP_SM90A
  exact_body<kDim>(args);
#endif
}

}  // namespace

bool exact_attention_takes(const SimpleAttention& call) {
  return paged_work_fits(call.shape, kPagedBlock) &&
         has_paged_kernels(static_cast<int>(call.shape.head_dim)) &&
         vectorisable(call.shape.head_dim, {call.qkv, call.out});
}

void exact_attention_forward(cudaStream_t stream, const SimpleAttention& call) {
  ExactArgs args = {};
  args.qkv = call.qkv;
  args.out = call.out;
  args.lse = call.lse;
  args.cu_seqlens = call.cu_seqlens;
  args.width = call.shape.width();
  args.out_width = call.shape.num_heads * call.shape.head_dim;
  args.documents = static_cast<int>(call.documents);
  args.num_heads = static_cast<int>(call.shape.num_heads);
  args.num_kv_heads = static_cast<int>(call.shape.num_kv_heads);
  args.group = args.num_heads / args.num_kv_heads;
  args.tokens = kPrefillRows / args.group;
  args.scale_log2 = call.scale * static_cast<float>(M_LOG2E);
  const auto kernel = call.shape.head_dim == 64 ? exact_kernel<64> : exact_kernel<128>;
  const std::size_t bytes =
      static_cast<std::size_t>(2 * kExactStages * 64 * call.shape.head_dim) * sizeof(bf16);
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "attention_forward");
  const dim3 grid(grid_of(call.rows / args.tokens + call.documents),
                  static_cast<unsigned>(args.num_kv_heads));
  kernel<<<grid, kExactThreads, bytes, stream>>>(args);
  check_launch("attention_forward");
}

}  // namespace rlcpp::ops::cuda
