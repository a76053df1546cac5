// Attention of rows that decode: one warp a block, each at a chunk of a kv head's keys. Bytes are what it
// costs: keys and values come through the copy engine in blocks of 16 keys, eight on their way, while the
// warp computes with the tensor cores, whose 16 rows are the query heads of one or several sequences. Whoever
// of a row and head comes last merges its chunks.
#include "ops/cuda/paged_args.cuh"
#include "ops/cuda/paged_tile.cuh"

namespace rlcpp::ops::cuda {
namespace {

// Blocks on their way to a warp. Shared memory decides how many warps run at once: with many sequences more
// warps hide what a unit of work waits for, with few each is as quick as it can be.
constexpr int kFewBlocks = 4, kManyBlocks = 8;
constexpr std::int64_t kFewRows = 16;

#if RLCPP_SM90A

template <int kDim, int kRing>
struct DecodeMemory {
  bf16 k[kRing][kPagedBlock * kDim];
  bf16 v[kRing][kPagedBlock * kDim];
  std::uint64_t full[kRing];
};

// Sums of one chunk of a row and kv head: [group, kDim], then `most` and `total` of each head.
template <int kDim>
__device__ float* partial_of(const PagedArgs& args, const PagedWorkArgs& work, int sequence, int kv_head,
                             int chunk) {
  const std::int64_t place =
      (static_cast<std::int64_t>(sequence) * args.num_kv_heads + kv_head) * work.max_chunks + chunk;
  return work.partials + place * args.group * (kDim + 2);
}

template <int kDim>
__device__ void load_queries(QueryRows<kDim>& q, const PagedArgs& args, const std::int32_t* rows, int used,
                             int kv_head) {
  const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = lane / 4 + 8 * half;
    const std::int64_t row = r < used ? rows[r / args.group] : 0;
    const bf16* const from =
        args.qkv + row * args.width + (kv_head * args.group + r % args.group) * kDim + lane % 4 * 2;
    load_query<kDim>(q, half, r < used ? from : nullptr);
  }
}

// All chunks of a row and kv head are there: merged in order, one head after the other, kDim / 32 dims a
// lane.
template <int kDim>
__device__ void merge_chunks(const PagedArgs& args, const PagedWorkArgs& work, std::int64_t row, int sequence,
                             int kv_head, int chunks) {
  constexpr int kDims = kDim / kWarp;
  const int lane = static_cast<int>(threadIdx.x);
  const std::int64_t step = static_cast<std::int64_t>(args.group) * (kDim + 2);
  const float* const first = partial_of<kDim>(args, work, sequence, kv_head, 0);
  for (int head = 0; head < args.group; ++head) {
    const float* sums = first + head * kDim + lane * kDims;
    const float* numbers = first + args.group * kDim + head;
    float most = __ldcg(numbers), total = __ldcg(numbers + args.group);
    float out[kDims];
#pragma unroll
    for (int d = 0; d < kDims; ++d) out[d] = __ldcg(sums + d);
    for (int chunk = 1; chunk < chunks; ++chunk) {
      sums += step;
      numbers += step;
      const MergeFactors merged(most, __ldcg(numbers), work.scale_log2);
      most = merged.most;
      total = merged(total, __ldcg(numbers + args.group));
#pragma unroll
      for (int d = 0; d < kDims; ++d) out[d] = merged(out[d], __ldcg(sums + d));
    }
    const float factor = __fdividef(1.0F, total);
    bf16* const to = args.out + row * args.out_width + (kv_head * args.group + head) * kDim + lane * kDims;
#pragma unroll
    for (int d = 0; d < kDims; d += 2)
      *reinterpret_cast<std::uint32_t*>(to + d) =
          pack_bf16(__fmul_rn(out[d], factor), __fmul_rn(out[d + 1], factor));
  }
}

template <int kDim, int kRing>
__device__ void decode_body(const PagedArgs& args, const PagedWorkArgs& work) {
  extern __shared__ __align__(1024) unsigned char raw[];
  auto& memory = *reinterpret_cast<DecodeMemory<kDim, kRing>*>(raw);
  const int lane = static_cast<int>(threadIdx.x);
  if (lane == 0) {
    for (auto& barrier : memory.full) barrier_init(&barrier, 1);
    barrier_init_done();
  }
  __syncwarp();
  constexpr int kBytes = kPagedBlock * kDim * static_cast<int>(sizeof(bf16));
  RingOf<kRing> issued, used;

  const int units = work.counts[0] * args.num_kv_heads;
  for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
    const std::int32_t* const entry = work.decode + unit / args.num_kv_heads * kDecodeWidth;
    const int kv_head = unit % args.num_kv_heads;
    const int table = entry[0], chunk = entry[1], keys = entry[2], count = entry[3];
    const int blocks = (keys + kPagedBlock - 1) / kPagedBlock;
    // Lane b knows the page of block b.
    int page = 0;
    if (lane < blocks) {
      page = args.block_tables[table * args.max_pages +
                               (chunk * kPagedChunk + lane * kPagedBlock) / args.page_size];
    }
    const auto issue = [&](int block) {
      const int of = __shfl_sync(kAllLanes, page, block);
      if (lane == 0) {
        const std::int64_t from =
            page_offset(args, of, kv_head, (chunk * kPagedChunk + block * kPagedBlock) % args.page_size);
        std::uint64_t* const full = &memory.full[issued.stage];
        barrier_expect(full, 2 * kBytes);
        copy_bytes(memory.k[issued.stage], args.k_pages + from, kBytes, full);
        copy_bytes(memory.v[issued.stage], args.v_pages + from, kBytes, full);
      }
      issued.next();
    };
    int next = 0;
    for (; next < min(blocks, kRing); ++next) issue(next);

    const int rows_used = count * args.group;
    QueryRows<kDim> q;
    load_queries<kDim>(q, args, entry + 4, rows_used, kv_head);
    RowSums<kDim> sums;
    sums.clear();
    for (int begin = 0; begin < blocks; begin += kTileBlocks) {
      std::uint32_t k[kTileBlocks] = {}, v[kTileBlocks] = {};
#pragma unroll
      for (int b = 0; b < kTileBlocks; ++b) {
        if (begin + b >= blocks) break;
        barrier_wait(&memory.full[used.stage], used.phase);
        k[b] = shared_address(memory.k[used.stage]);
        v[b] = shared_address(memory.v[used.stage]);
        used.next();
      }
      const int left = keys - begin * kPagedBlock, last[2] = {left - 1, left - 1};
      attend_tile<kDim>(sums, q, k, v, min(left, kTileKeys), left >= kTileKeys, last, work.scale_log2);
      __syncwarp();  // all lanes have read what is overwritten now
      for (int b = 0; b < kTileBlocks && next < blocks; ++b) issue(next++);
    }
    sums.finish();

    // A row's only chunk is its result; else it waits for the others.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane / 4 + 8 * half;
      if (r >= rows_used) continue;
      const std::int64_t row = entry[4 + r / args.group];
      const int head = r % args.group;
      if (args.positions[row] < kPagedChunk) {
        bf16* const to = args.out + row * args.out_width + (kv_head * args.group + head) * kDim;
        store_row<kDim>(to + lane % 4 * 2, sums, half);
        continue;
      }
      float* const to = partial_of<kDim>(args, work, args.sequence_of[row], kv_head, chunk);
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) {
        // The partials of a head begin at a multiple of 8 bytes.
        *reinterpret_cast<float2*>(to + head * kDim + 8 * i + lane % 4 * 2) =
            make_float2(sums.out[i][2 * half], sums.out[i][2 * half + 1]);
      }
      if (lane % 4 == 0) {
        to[args.group * kDim + head] = sums.most[half];
        to[args.group * kDim + args.group + head] = sums.total[half];
      }
    }
    __threadfence();
    __syncwarp();
    for (int i = 0; i < count; ++i) {
      const std::int64_t row = entry[4 + i];
      const int chunks = args.positions[row] / kPagedChunk + 1;
      if (chunks == 1) continue;
      const int sequence = args.sequence_of[row];
      std::int32_t* const arrivals = work.arrivals + sequence * args.num_kv_heads + kv_head;
      int before = 0;
      if (lane == 0) before = atomicAdd(arrivals, 1);
      before = __shfl_sync(kAllLanes, before, 0);
      if (before != chunks - 1) continue;
      __threadfence();
      merge_chunks<kDim>(args, work, row, sequence, kv_head, chunks);
      if (lane == 0) *arrivals = 0;
    }
  }
}

#endif

template <int kDim, int kRing>
__global__ void __launch_bounds__(kWarp)
    decode_kernel(const __grid_constant__ PagedArgs args, const __grid_constant__ PagedWorkArgs work) {
#if RLCPP_SM90A
  decode_body<kDim, kRing>(args, work);
#endif
}

template <int kDim, int kRing>
void launch_decode(const Context& ctx, const PagedArgs& args, const PagedWorkArgs& work) {
  constexpr std::size_t kBytes =
      static_cast<std::size_t>(2 * kRing * kPagedBlock * kDim) * sizeof(bf16) + kRing * sizeof(std::uint64_t);
  const auto kernel = decode_kernel<kDim, kRing>;
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes)),
      "attention_paged");
  // As many as shared memory lets run at once; a block has a kilobyte of its own.
  constexpr std::size_t kShared = std::size_t{228} << 10;
  constexpr auto kEach = static_cast<unsigned>(kShared / (kBytes + 1024));
  const unsigned blocks = static_cast<unsigned>(ctx.cuda->multiprocessors()) * kEach;
  kernel<<<blocks, kWarp, kBytes, stream_of(ctx)>>>(args, work);
  check_launch("attention_paged");
}

}  // namespace

bool has_paged_kernels(int head_dim) {
  static const bool found =
      has_hopper_code(decode_kernel<64, kManyBlocks>) && has_hopper_code(decode_kernel<128, kManyBlocks>);
  return found && (head_dim == 64 || head_dim == 128);
}

void decode_paged(const Context& ctx, const PagedArgs& args, const PagedWorkArgs& work) {
  const bool few = args.rows <= kFewRows;
  if (args.head_dim == 64) {
    few ? launch_decode<64, kManyBlocks>(ctx, args, work) : launch_decode<64, kFewBlocks>(ctx, args, work);
  } else {
    few ? launch_decode<128, kManyBlocks>(ctx, args, work) : launch_decode<128, kFewBlocks>(ctx, args, work);
  }
}

}  // namespace rlcpp::ops::cuda
