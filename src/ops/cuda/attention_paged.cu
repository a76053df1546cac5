// The paged cache of the rollout engine: what is written into it, and the portable kernel that reads it,
// which computes each row by itself.
#include <cmath>

#include "ops/cuda/attention.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/paged_args.cuh"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kPagedThreads = 128;
constexpr int kPagedWarps = kPagedThreads / kWarp;
constexpr int kPagedKeys = 32;  // keys a step: a lane of a warp each in the softmax

// A block for each row.
__global__ void __launch_bounds__(kPagedThreads) kv_write_kernel(const PagedArgs args) {
  const std::int64_t row = blockIdx.x;
  const std::int32_t slot = args.slots[row];
  const int of_head = (args.head_dim + kVector - 1) / kVector;
  const int vectors = args.num_kv_heads * of_head;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * vectors; i += kPagedThreads) {
    const bool is_v = i >= vectors;
    const int vector = is_v ? i - vectors : i;
    const int kv_head = vector / of_head;
    const int column = vector % of_head * kVector;
    const int head = args.num_heads + (is_v ? args.num_kv_heads : 0) + kv_head;
    const bf16* from = args.qkv + row * args.width + head * args.head_dim + column;
    bf16* to = (is_v ? args.v_pages : args.k_pages) +
               page_offset(args, slot / args.page_size, kv_head, slot % args.page_size) +
               page_column(args, slot % args.page_size, column);
    if (args.aligned) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (int c = 0; c < kVector && column + c < args.head_dim; ++c) to[c] = from[c];
    }
  }
}

// Rows of k and v in shared memory. An odd number of 4-byte words (for even head_dim) keeps the lanes, each
// at a key of its own, off the same banks.
__host__ __device__ constexpr int paged_row(int head_dim) {
  return head_dim + 2 + head_dim % 2;
}
std::size_t paged_bytes(int head_dim) {
  return static_cast<std::size_t>(2 * kPagedKeys * paged_row(head_dim)) * sizeof(bf16) +
         static_cast<std::size_t>(kPagedHeads * head_dim) * sizeof(float);
}

// One query row and up to kPagedHeads query heads of one kv head a block. Keys in steps of kPagedKeys from
// position 0: each score is one sum over the head in order, each output one sum over the keys in order, and
// the running maximum changes at the same positions always, so a row's bits depend on nothing but its own
// keys. kDims: outputs a thread holds.
template <int kDims>
__global__ void __launch_bounds__(kPagedThreads) attention_paged_kernel(const PagedArgs args) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float weights[kPagedHeads][kPagedKeys];
  __shared__ float shrink[kPagedHeads];  // what earlier sums are multiplied with
  __shared__ float total[kPagedHeads];
  const int dim = args.head_dim;
  const int stride = paged_row(dim);
  float* const q = reinterpret_cast<float*>(memory);  // [kPagedHeads, head_dim]
  bf16* const k = reinterpret_cast<bf16*>(q + kPagedHeads * dim);
  bf16* const v = k + kPagedKeys * stride;

  const std::int64_t row = blockIdx.x;
  const int kv_head = static_cast<int>(blockIdx.y) / args.slices;
  const int first_member = static_cast<int>(blockIdx.y) % args.slices * kPagedHeads;
  const int heads = min(kPagedHeads, args.group - first_member);
  const int head = kv_head * args.group + first_member;
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  const int lane = thread % kWarp;
  const float kNothing = -__int_as_float(0x7f800000);

  const bf16* const q_row = args.qkv + row * args.width + head * dim;
  for (int i = thread; i < heads * dim; i += kPagedThreads) q[i] = to_float(q_row[i]);
  const int keys = args.positions[row] + 1;
  const std::int32_t* const table = args.block_tables + args.sequence_of[row] * args.max_pages;

  float out[kPagedHeads][kDims] = {};
  // Of the heads that this warp looks after: warp, warp + kPagedWarps, ...
  float most[kPagedHeads / kPagedWarps];
  float sum[kPagedHeads / kPagedWarps];
#pragma unroll
  for (int i = 0; i < kPagedHeads / kPagedWarps; ++i) {
    most[i] = kNothing;
    sum[i] = 0.0F;
  }

  const int vectors = (dim + kVector - 1) / kVector;
  for (int begin = 0; begin < keys; begin += kPagedKeys) {
    const int count = min(kPagedKeys, keys - begin);
    __syncthreads();  // the step before no longer reads k, v and weights; q is there
    for (int i = thread; i < count * vectors; i += kPagedThreads) {
      const int j = i / vectors;
      const int column = i % vectors * kVector;
      const int key = begin + j;
      const std::int64_t from =
          page_offset(args, table[key / args.page_size], kv_head, key % args.page_size) +
          page_column(args, key % args.page_size, column);
      bf16* const to_k = k + j * stride + column;
      bf16* const to_v = v + j * stride + column;
      if (args.aligned) {
        const uint4 a = *reinterpret_cast<const uint4*>(args.k_pages + from);
        const uint4 b = *reinterpret_cast<const uint4*>(args.v_pages + from);
        auto* const words_k = reinterpret_cast<std::uint32_t*>(to_k);  // the rows are only 4-byte aligned
        auto* const words_v = reinterpret_cast<std::uint32_t*>(to_v);
        words_k[0] = a.x, words_k[1] = a.y, words_k[2] = a.z, words_k[3] = a.w;
        words_v[0] = b.x, words_v[1] = b.y, words_v[2] = b.z, words_v[3] = b.w;
      } else {
        for (int c = 0; c < kVector && column + c < dim; ++c) {
          to_k[c] = args.k_pages[from + c];
          to_v[c] = args.v_pages[from + c];
        }
      }
    }
    __syncthreads();

    // A warp takes a head at a time, a lane the score of one key.
#pragma unroll
    for (int i = 0; i < kPagedHeads / kPagedWarps; ++i) {
      const int h = warp + i * kPagedWarps;
      if (h >= heads) break;
      float score = kNothing;
      if (lane < count) {
        const float* const of_q = q + h * dim;
        const bf16* const of_k = k + lane * stride;
        float dot = 0.0F;
        int c = 0;
        for (; c + 1 < dim; c += 2) {
          const float2 pair = unpack_bf16(*reinterpret_cast<const std::uint32_t*>(of_k + c));
          dot = fmaf(of_q[c], pair.x, dot);
          dot = fmaf(of_q[c + 1], pair.y, dot);
        }
        if (c < dim) dot = fmaf(of_q[c], to_float(of_k[c]), dot);
        score = dot * args.scale;
      }
      const float larger = fmaxf(most[i], warp_max(score));
      const float p = lane < count ? expf(score - larger) : 0.0F;
      const float factor = begin == 0 ? 0.0F : expf(most[i] - larger);
      sum[i] = sum[i] * factor + warp_sum(p);
      most[i] = larger;
      weights[h][lane] = p;
      if (lane == 0) {
        shrink[h] = factor;
        total[h] = sum[i];
      }
    }
    __syncthreads();

#pragma unroll
    for (int d = 0; d < kDims; ++d) {
      const int column = thread + d * kPagedThreads;
      if (column >= dim) break;
#pragma unroll
      for (int h = 0; h < kPagedHeads; ++h) {
        if (h < heads) out[h][d] *= shrink[h];
      }
      for (int j = 0; j < count; ++j) {
        const float value = to_float(v[j * stride + column]);
#pragma unroll
        for (int h = 0; h < kPagedHeads; ++h) {
          if (h < heads) out[h][d] = fmaf(weights[h][j], value, out[h][d]);
        }
      }
    }
  }

#pragma unroll
  for (int h = 0; h < kPagedHeads; ++h) {
    if (h >= heads) break;
    const float factor = 1.0F / total[h];
    bf16* const to = args.out + row * args.out_width + (head + h) * dim;
#pragma unroll
    for (int d = 0; d < kDims; ++d) {
      const int column = thread + d * kPagedThreads;
      if (column < dim) to[column] = __float2bfloat16_rn(out[h][d] * factor);
    }
  }
}

// Block (i, half): a half of pair i, keys or values, in words of 16 bytes.
__global__ void __launch_bounds__(kPagedThreads)
    kv_copy_kernel(bf16* k_pages, bf16* v_pages, const std::int32_t* pairs, std::int64_t elements) {
  bf16* const pages = blockIdx.y == 0 ? k_pages : v_pages;
  const bf16* const from = pages + pairs[2 * blockIdx.x] * elements;
  bf16* const to = pages + pairs[2 * blockIdx.x + 1] * elements;
  for (std::int64_t i = threadIdx.x; i < elements / kVector; i += kPagedThreads)
    reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
}

}  // namespace

void kv_copy(const Context& ctx, const KvPages& pages, const Tensor& pairs) {
  const std::int64_t elements = pages.k.size() / pages.k.dim(0);
  RLCPP_CHECK(elements % kVector == 0);  // pages begin at multiples of 16 bytes
  const dim3 grid(grid_of(pairs.dim(0)), 2);
  kv_copy_kernel<<<grid, kPagedThreads, 0, stream_of(ctx)>>>(address<bf16>(pages.k), address<bf16>(pages.v),
                                                             address<const std::int32_t>(pairs), elements);
  check_launch("kv_copy");
}

PagedArgs paged_args(const KvPages& pages, const Tensor& qkv, const QkvShape& shape) {
  RLCPP_CHECK(shape.width() <= std::numeric_limits<std::int32_t>::max() &&
              pages.page_size() <= std::numeric_limits<std::int32_t>::max());
  PagedArgs args = {};
  args.qkv = address<const bf16>(qkv);
  args.k_pages = address<bf16>(pages.k);
  args.v_pages = address<bf16>(pages.v);
  args.rows = qkv.dim(0);
  args.width = shape.width();
  args.out_width = shape.num_heads * shape.head_dim;
  args.num_heads = static_cast<int>(shape.num_heads);
  args.num_kv_heads = static_cast<int>(shape.num_kv_heads);
  args.group = static_cast<int>(shape.num_heads / shape.num_kv_heads);
  args.slices = static_cast<int>(ceil_div(args.group, kPagedHeads));
  args.head_dim = static_cast<int>(shape.head_dim);
  args.page_size = static_cast<int>(pages.page_size());
  args.aligned = vectorisable(shape.head_dim, {args.qkv, args.k_pages, args.v_pages});
  args.swizzled = args.aligned && shape.head_dim % 64 == 0;
  return args;
}

bool takes_paged_work(const QkvShape& shape, std::int64_t page_size) {
  return paged_work_fits(shape, page_size) && has_paged_kernels(static_cast<int>(shape.head_dim));
}

void kv_write(const Context& ctx, const KvPages& pages, const Tensor& qkv, const Tensor& slots,
              const QkvShape& shape) {
  PagedArgs args = paged_args(pages, qkv, shape);
  if (args.rows == 0) return;
  args.slots = address<const std::int32_t>(slots);
  kv_write_kernel<<<grid_of(args.rows), kPagedThreads, 0, stream_of(ctx)>>>(args);
  check_launch("kv_write");
}

void attention_paged(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                     const Tensor& positions, const Tensor& sequence_of, const Tensor& block_tables,
                     const QkvShape& shape, float scale, const PagedWork& work) {
  PagedArgs args = paged_args(pages, qkv, shape);
  if (args.rows == 0) return;
  args.out = address<bf16>(out);
  args.positions = address<const std::int32_t>(positions);
  args.sequence_of = address<const std::int32_t>(sequence_of);
  args.block_tables = address<const std::int32_t>(block_tables);
  args.max_pages = block_tables.dim(1);
  args.scale = scale;
  if (!work.empty()) {
    RLCPP_CHECK(args.swizzled && has_paged_kernels(args.head_dim));
    const PagedWorkArgs lists = {
        address<const std::int32_t>(work.decode), address<const std::int32_t>(work.prefill),
        address<const std::int32_t>(work.counts), address<float>(work.partials),
        address<std::int32_t>(work.arrivals),     static_cast<int>(work.max_chunks),
        scale * static_cast<float>(M_LOG2E)};
    if (work.launched.decode > 0) decode_paged(ctx, args, lists);
    if (work.launched.prefill > 0) prefill_paged(ctx, args, lists, work.launched.prefill);
    return;
  }
  const std::int64_t slices = static_cast<std::int64_t>(args.num_kv_heads) * args.slices;
  RLCPP_CHECK(slices <= 65535);  // the y dimension of a grid
  const auto kernel = args.head_dim <= kPagedThreads       ? attention_paged_kernel<1>
                      : args.head_dim <= 2 * kPagedThreads ? attention_paged_kernel<2>
                                                           : attention_paged_kernel<4>;
  const std::size_t bytes = paged_bytes(args.head_dim);
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      "attention_paged");
  const dim3 grid(grid_of(args.rows), static_cast<unsigned>(slices));
  kernel<<<grid, kPagedThreads, bytes, stream_of(ctx)>>>(args);
  check_launch("attention_paged");
}

}  // namespace rlcpp::ops::cuda
