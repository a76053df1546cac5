// Attention of tokens of a prompt over the paged cache: a block takes up to 64 query rows (neighbouring
// tokens times the query heads of one kv head), a warp 16 of them, and keys go by in tiles of 64 that the
// copy engine brings.
#include "ops/cuda/paged_args.cuh"
#include "ops/cuda/paged_tile.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kPrefillWarps = kPrefillRows / 16;
constexpr int kPrefillThreads = kPrefillWarps * kWarp;
constexpr int kStages = 3;  // tiles

#if RLCPP_SM90A

template <int kDim>
struct PrefillMemory {
  bf16 k[kStages][kTileKeys * kDim];
  bf16 v[kStages][kTileKeys * kDim];
  std::uint64_t full[kStages];
  std::uint64_t empty[kStages];
};

template <int kDim>
__device__ void prefill_body(const PagedArgs& args, const PagedWorkArgs& work) {
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<PrefillMemory<kDim>*>(raw);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x == 0) {
    for (auto& barrier : memory.full) barrier_init(&barrier, 1);
    for (auto& barrier : memory.empty) barrier_init(&barrier, kPrefillWarps);
    barrier_init_done();
  }
  __syncthreads();
  constexpr int kBytes = kPagedBlock * kDim * static_cast<int>(sizeof(bf16));

  const std::int32_t* const entry = work.prefill + blockIdx.x * kPrefillWidth;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int table = entry[0], first_row = entry[1], position = entry[2], count = entry[3];
  const int keys = position + count;
  const int tiles = (keys + kTileKeys - 1) / kTileKeys;
  const std::int32_t* const pages = args.block_tables + table * args.max_pages;

  // The first warp asks for tiles; lane b of it for block b.
  const auto issue = [&](int tile, int stage) {
    const int key = tile * kTileKeys + lane * kPagedBlock;
    const int blocks = min(kTileBlocks, (keys - tile * kTileKeys + kPagedBlock - 1) / kPagedBlock);
    if (lane == 0) barrier_expect(&memory.full[stage], blocks * 2 * kBytes);
    __syncwarp();
    if (lane < blocks) {
      const std::int64_t from = page_offset(args, pages[key / args.page_size], kv_head, key % args.page_size);
      copy_bytes(memory.k[stage] + lane * kPagedBlock * kDim, args.k_pages + from, kBytes,
                 &memory.full[stage]);
      copy_bytes(memory.v[stage] + lane * kPagedBlock * kDim, args.v_pages + from, kBytes,
                 &memory.full[stage]);
    }
  };
  if (warp == 0) {
    for (int tile = 0; tile < min(tiles, kStages); ++tile) issue(tile, tile);
  }

  const TokenRows<kDim> rows(args.qkv, args.width, args.group, kv_head, first_row, position, count);
  RowSums<kDim> sums, all;
  sums.clear();
  RingOf<kStages> ring;
  for (int tile = 0; tile < tiles; ++tile) {
    const int begin = tile * kTileKeys;
    // A warp that has no use for the tile waits too: its arrival below must not count for an earlier one.
    barrier_wait(&memory.full[ring.stage], ring.phase);
    if (begin <= rows.last_last) {
      rows.attend(sums, memory.k[ring.stage], memory.v[ring.stage], begin, keys, work.scale_log2);
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(&memory.empty[ring.stage]);
    if (warp == 0 && tile + kStages < tiles) {
      barrier_wait(&memory.empty[ring.stage], ring.phase);
      issue(tile + kStages, ring.stage);
    }
    ring.next();

    if (tile % kChunkTiles != kChunkTiles - 1 && tile + 1 < tiles) continue;
    merge_chunk<kDim>(all, sums, tile < kChunkTiles, work.scale_log2);
    sums.clear();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (rows.last_key[half] < 0) continue;
    bf16* const to = args.out + rows.row[half] * args.out_width + rows.head[half] * kDim;
    store_row<kDim>(to + lane % 4 * 2, all, half);
  }
}

#endif

template <int kDim>
__global__ void __launch_bounds__(kPrefillThreads, 2)
    prefill_kernel(const __grid_constant__ PagedArgs args, const __grid_constant__ PagedWorkArgs work) {
#if RLCPP_SM90A
  prefill_body<kDim>(args, work);
#endif
}

}  // namespace

void prefill_paged(const Context& ctx, const PagedArgs& args, const PagedWorkArgs& work,
                   std::int64_t entries) {
  const auto kernel = args.head_dim == 64 ? prefill_kernel<64> : prefill_kernel<128>;
  const std::size_t bytes = static_cast<std::size_t>(2 * kStages * 64 * args.head_dim) * sizeof(bf16) +
                            2 * kStages * sizeof(std::uint64_t);
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "attention_paged");
  const dim3 grid(grid_of(entries), static_cast<unsigned>(args.num_kv_heads));
  kernel<<<grid, kPrefillThreads, bytes, stream_of(ctx)>>>(args, work);
  check_launch("attention_paged");
}

}  // namespace rlcpp::ops::cuda
