// Attention over packed documents in tiles of rows. A tile of queries may hold several documents: the mask is
// asked of every pair. Sums over keys (queries for dk and dv) run from the first to the last; nothing is
// added atomically.
#include "ops/cuda/attention_simple.h"

#include <cmath>

#include "ops/cuda/attention_tiles.cuh"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

struct SimpleArgs {
  SimpleAttention call;
  const bf16 *k, *v;  // of head 0, in qkv
  bf16 *dk, *dv;
  std::int64_t width;
  std::int64_t out_width;
  int rows, documents;
  int heads, group;
  int head_dim, padded_dim;
  bool aligned;
};

// Eight queries of a warp's threads: who looks after which scores of a tile.
template <int kTile>
struct ScorePlace {
  static constexpr int kLanes = kTileThreads / kTile;  // neighbouring threads of one row
  static constexpr int kColumns = kTile / kLanes;      // that each of them has
  const int row = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  __device__ int column(int j) const { return lane + j * kLanes; }
};

// The document of a row: the last that does not begin behind it (empty ones begin where the next does).
__device__ int document_of(const SimpleArgs& args, int row) {
  const std::int32_t* cu = args.call.cu_seqlens;
  int low = 0;
  int high = args.documents;
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    if (cu[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ std::int64_t lse_index(const SimpleArgs& args, int row, int head) {
  const std::int64_t length = args.call.lse_length;
  if (length == 0) return static_cast<std::int64_t>(row) * args.heads + head;
  return (row / length * args.heads + head) * length + row % length;
}

// Tiles in shared memory: q, dout (backward), k, v, then scores and their gradients.
template <int kTile>
struct SharedTiles {
  bf16* rows;
  int padded_dim;
  int count;  // of the bf16 tiles
  __device__ SharedTiles(void* memory, int dim, int tiles)
      : rows(static_cast<bf16*>(memory)), padded_dim(dim), count(tiles) {}
  __device__ bf16* tile(int i) const { return rows + i * kTile * bf16_row(padded_dim); }
  __device__ float* scores(int i) const {
    return reinterpret_cast<float*>(tile(count)) + i * kTile * f32_row(kTile);
  }
  // bf16 in the place of scores(i), rows bf16_row(kTile) apart.
  __device__ bf16* weights(int i) const { return reinterpret_cast<bf16*>(scores(i)); }
};
constexpr std::size_t tiles_bytes(int tile, int padded_dim, int tiles, int scores) {
  return static_cast<std::size_t>(tiles * tile * bf16_row(padded_dim)) * sizeof(bf16) +
         static_cast<std::size_t>(scores * tile * f32_row(tile)) * sizeof(float);
}

// Two walks over the keys: the first finds the log-sum-exp, the second adds probabilities times v, so that
// no sum has to be rescaled.
template <int kTile>
__global__ void __launch_bounds__(kTileThreads) simple_forward_kernel(const SimpleArgs args) {
  extern __shared__ __align__(128) unsigned char memory[];
  const SharedTiles<kTile> shared(memory, args.padded_dim, 3);
  bf16* const q = shared.tile(0);
  bf16* const k = shared.tile(1);
  bf16* const v = shared.tile(2);
  float* const scores = shared.scores(0);
  const ScorePlace<kTile> place;
  const float kNothing = -__int_as_float(0x7f800000);

  const int head = static_cast<int>(blockIdx.y);
  const int kv_column = head / args.group * args.head_dim;
  const int first = static_cast<int>(blockIdx.x) * kTile;
  const int end = min(first + kTile, args.rows);
  const int begin = args.call.cu_seqlens[document_of(args, first)];
  const int row = first + place.row;
  const bool live = row < args.rows;
  const int from = live ? args.call.cu_seqlens[document_of(args, row)] : args.rows;
  const auto allowed = [&](int key) { return key >= from && key <= row; };
  load_tile<kTile>(q, args.padded_dim, args.call.qkv + head * args.head_dim, args.width, first, end,
                   args.head_dim, args.aligned);

  float most = kNothing;
  float sum = 0.0F;
  for (int key = begin; key < end; key += kTile) {
    load_tile<kTile>(k, args.padded_dim, args.k + kv_column, args.width, key, end, args.head_dim,
                     args.aligned);
    __syncthreads();
    tile_scores<kTile>(scores, q, k, args.padded_dim);
    __syncthreads();
    float s[ScorePlace<kTile>::kColumns];
    float of_tile = kNothing;
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      const int column = place.column(j);
      s[j] = allowed(key + column) ? scores[place.row * f32_row(kTile) + column] * args.call.scale : kNothing;
      of_tile = fmaxf(of_tile, s[j]);
    }
    of_tile = fmaxf(most, warp_reduce<ScorePlace<kTile>::kLanes>(of_tile, Max()));
    float part = 0.0F;
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      if (allowed(key + place.column(j))) part += __expf(s[j] - of_tile);
    }
    part = warp_sum<ScorePlace<kTile>::kLanes>(part);
    sum = (sum > 0.0F ? sum * __expf(most - of_tile) : sum) + part;
    most = of_tile;
  }
  const float lse = most + logf(sum);
  if (live && place.lane == 0) args.call.lse[lse_index(args, row, head)] = lse;

  TileSum<kTile> out;
  for (int key = begin; key < end; key += kTile) {
    __syncthreads();
    load_tile<kTile>(k, args.padded_dim, args.k + kv_column, args.width, key, end, args.head_dim,
                     args.aligned);
    load_tile<kTile>(v, args.padded_dim, args.v + kv_column, args.width, key, end, args.head_dim,
                     args.aligned);
    __syncthreads();
    tile_scores<kTile>(scores, q, k, args.padded_dim);
    __syncthreads();
    float p[ScorePlace<kTile>::kColumns];
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      const int column = place.column(j);
      const float score = scores[place.row * f32_row(kTile) + column] * args.call.scale;
      p[j] = allowed(key + column) ? __expf(score - lse) : 0.0F;
    }
    __syncthreads();
    bf16* const weights = shared.weights(0);
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      weights[place.row * bf16_row(kTile) + place.column(j)] = __float2bfloat16_rn(p[j]);
    }
    __syncthreads();
    out.template add<false>(weights, v, args.padded_dim);
  }
  out.store(args.call.out + head * args.head_dim, args.out_width, first, end, args.head_dim, args.padded_dim,
            args.aligned, reinterpret_cast<float*>(k));
}

// delta = sum over the head of dout * out; a warp for each row and head.
__global__ void __launch_bounds__(kTileThreads) simple_delta_kernel(const SimpleArgs args) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * kTileWarps + threadIdx.x / kWarp;
  if (item >= static_cast<std::int64_t>(args.rows) * args.heads) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bf16* const dout = args.call.dout + item * args.head_dim;
  const bf16* const out = args.call.out + item * args.head_dim;
  float sum = 0.0F;
  for (int i = lane; i < args.head_dim; i += kWarp) sum += to_float(dout[i]) * to_float(out[i]);
  sum = warp_sum(sum);
  if (lane == 0) args.call.delta[item] = sum;
}

// dq = scale * sum over keys of p (dp - delta) k, with p = exp(score - lse) and dp = dout . v.
template <int kTile>
__global__ void __launch_bounds__(kTileThreads) simple_dq_kernel(const SimpleArgs args) {
  extern __shared__ __align__(128) unsigned char memory[];
  const SharedTiles<kTile> shared(memory, args.padded_dim, 4);
  bf16* const q = shared.tile(0);
  bf16* const dout = shared.tile(1);
  bf16* const k = shared.tile(2);
  bf16* const v = shared.tile(3);
  float* const scores = shared.scores(0);
  float* const dscores = shared.scores(1);
  const ScorePlace<kTile> place;

  const int head = static_cast<int>(blockIdx.y);
  const int column_of_head = head * args.head_dim;
  const int kv_column = head / args.group * args.head_dim;
  const int first = static_cast<int>(blockIdx.x) * kTile;
  const int end = min(first + kTile, args.rows);
  const int begin = args.call.cu_seqlens[document_of(args, first)];
  const int row = first + place.row;
  const bool live = row < args.rows;
  const int from = live ? args.call.cu_seqlens[document_of(args, row)] : args.rows;
  const float lse = live ? args.call.lse[lse_index(args, row, head)] : 0.0F;
  const float delta = live ? args.call.delta[static_cast<std::int64_t>(row) * args.heads + head] : 0.0F;
  load_tile<kTile>(q, args.padded_dim, args.call.qkv + column_of_head, args.width, first, end, args.head_dim,
                   args.aligned);
  load_tile<kTile>(dout, args.padded_dim, args.call.dout + column_of_head, args.out_width, first, end,
                   args.head_dim, args.aligned);

  TileSum<kTile> dq;
  for (int key = begin; key < end; key += kTile) {
    __syncthreads();
    load_tile<kTile>(k, args.padded_dim, args.k + kv_column, args.width, key, end, args.head_dim,
                     args.aligned);
    load_tile<kTile>(v, args.padded_dim, args.v + kv_column, args.width, key, end, args.head_dim,
                     args.aligned);
    __syncthreads();
    tile_scores<kTile>(scores, q, k, args.padded_dim);
    tile_scores<kTile>(dscores, dout, v, args.padded_dim);
    __syncthreads();
    float d[ScorePlace<kTile>::kColumns];
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      const int column = place.column(j);
      const int at = place.row * f32_row(kTile) + column;
      const bool allowed = key + column >= from && key + column <= row;
      const float p = __expf(scores[at] * args.call.scale - lse);
      d[j] = allowed ? p * (dscores[at] - delta) * args.call.scale : 0.0F;
    }
    __syncthreads();
    bf16* const weights = shared.weights(0);
#pragma unroll
    for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
      weights[place.row * bf16_row(kTile) + place.column(j)] = __float2bfloat16_rn(d[j]);
    }
    __syncthreads();
    dq.template add<false>(weights, k, args.padded_dim);
  }
  dq.store(args.call.dqkv + column_of_head, args.width, first, end, args.head_dim, args.padded_dim,
           args.aligned, reinterpret_cast<float*>(k));
}

// A tile of keys of one kv head: dv = sum of p dout, dk = scale * sum of p (dp - delta) q, over the heads of
// the group one after the other and, for each, over the queries from the keys to the end of their documents.
template <int kTile>
__global__ void __launch_bounds__(kTileThreads) simple_dkv_kernel(const SimpleArgs args) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ int end_of_key[kTile];  // where the key's document ends
  const SharedTiles<kTile> shared(memory, args.padded_dim, 4);
  bf16* const q = shared.tile(0);
  bf16* const dout = shared.tile(1);
  bf16* const k = shared.tile(2);
  bf16* const v = shared.tile(3);
  float* const scores = shared.scores(0);
  float* const dscores = shared.scores(1);
  const ScorePlace<kTile> place;

  const int kv_head = static_cast<int>(blockIdx.y);
  const int kv_column = kv_head * args.head_dim;
  const int first = static_cast<int>(blockIdx.x) * kTile;
  const int keys_end = min(first + kTile, args.rows);
  const int end = args.call.cu_seqlens[document_of(args, keys_end - 1) + 1];
  if (static_cast<int>(threadIdx.x) < kTile) {
    const int key = first + static_cast<int>(threadIdx.x);
    end_of_key[threadIdx.x] = key < keys_end ? args.call.cu_seqlens[document_of(args, key) + 1] : 0;
  }
  load_tile<kTile>(k, args.padded_dim, args.k + kv_column, args.width, first, keys_end, args.head_dim,
                   args.aligned);
  load_tile<kTile>(v, args.padded_dim, args.v + kv_column, args.width, first, keys_end, args.head_dim,
                   args.aligned);

  TileSum<kTile> dk;
  TileSum<kTile> dv;
  for (int member = 0; member < args.group; ++member) {
    const int head = kv_head * args.group + member;
    const int column_of_head = head * args.head_dim;
    for (int query = first; query < end; query += kTile) {
      __syncthreads();
      load_tile<kTile>(q, args.padded_dim, args.call.qkv + column_of_head, args.width, query, end,
                       args.head_dim, args.aligned);
      load_tile<kTile>(dout, args.padded_dim, args.call.dout + column_of_head, args.out_width, query, end,
                       args.head_dim, args.aligned);
      __syncthreads();
      tile_scores<kTile>(scores, q, k, args.padded_dim);
      tile_scores<kTile>(dscores, dout, v, args.padded_dim);
      __syncthreads();
      const int row = query + place.row;
      const bool live = row < end;
      const float lse = live ? args.call.lse[lse_index(args, row, head)] : 0.0F;
      const float delta = live ? args.call.delta[static_cast<std::int64_t>(row) * args.heads + head] : 0.0F;
      float p[ScorePlace<kTile>::kColumns];
      float d[ScorePlace<kTile>::kColumns];
#pragma unroll
      for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
        const int column = place.column(j);
        const int at = place.row * f32_row(kTile) + column;
        const bool allowed = first + column <= row && row < end_of_key[column];
        p[j] = allowed ? __expf(scores[at] * args.call.scale - lse) : 0.0F;
        d[j] = allowed ? p[j] * (dscores[at] - delta) * args.call.scale : 0.0F;
      }
      __syncthreads();
      bf16* const weights = shared.weights(0);
      bf16* const dweights = shared.weights(1);
#pragma unroll
      for (int j = 0; j < ScorePlace<kTile>::kColumns; ++j) {
        const int at = place.row * bf16_row(kTile) + place.column(j);
        weights[at] = __float2bfloat16_rn(p[j]);
        dweights[at] = __float2bfloat16_rn(d[j]);
      }
      __syncthreads();
      dv.template add<true>(weights, dout, args.padded_dim);
      dk.template add<true>(dweights, q, args.padded_dim);
    }
  }
  dk.store(args.dk + kv_column, args.width, first, keys_end, args.head_dim, args.padded_dim, args.aligned,
           reinterpret_cast<float*>(q));
  dv.store(args.dv + kv_column, args.width, first, keys_end, args.head_dim, args.padded_dim, args.aligned,
           reinterpret_cast<float*>(q));
}

using SimpleKernel = void (*)(SimpleArgs);
struct SimpleKernels {
  int tile;
  SimpleKernel forward, dq, dkv;
};
template <int kTile>
constexpr SimpleKernels simple_kernels() {
  return {kTile, simple_forward_kernel<kTile>, simple_dq_kernel<kTile>, simple_dkv_kernel<kTile>};
}

// The largest tiles that the registers and the shared memory of this GPU hold.
SimpleKernels simple_kernels(int padded_dim) {
  int device = 0;
  int most = 0;
  rlcpp::cuda::check(cudaGetDevice(&device), "cudaGetDevice");
  rlcpp::cuda::check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                     "cudaDeviceGetAttribute");
  const auto fits = [&](int tile) {
    return tile * padded_dim <= kTileValues &&
           tiles_bytes(tile, padded_dim, 4, 2) + tile * sizeof(int) <= static_cast<std::size_t>(most);
  };
  if (fits(64)) return simple_kernels<64>();
  if (fits(32)) return simple_kernels<32>();
  return simple_kernels<16>();
}

SimpleArgs simple_args(const SimpleAttention& call) {
  const QkvShape& shape = call.shape;
  RLCPP_CHECK(call.rows <= std::numeric_limits<std::int32_t>::max() - kTileThreads);
  SimpleArgs args = {};
  args.call = call;
  const std::int64_t k = shape.num_heads * shape.head_dim;
  const std::int64_t v = k + shape.num_kv_heads * shape.head_dim;
  args.k = call.qkv + k;
  args.v = call.qkv + v;
  args.dk = call.dqkv != nullptr ? call.dqkv + k : nullptr;
  args.dv = call.dqkv != nullptr ? call.dqkv + v : nullptr;
  args.width = shape.width();
  args.out_width = k;
  args.rows = static_cast<int>(call.rows);
  args.documents = static_cast<int>(call.documents);
  args.heads = static_cast<int>(shape.num_heads);
  args.group = static_cast<int>(shape.num_heads / shape.num_kv_heads);
  args.head_dim = static_cast<int>(shape.head_dim);
  args.padded_dim = static_cast<int>(ceil_div(shape.head_dim, kMma) * kMma);
  args.aligned = vectorisable(shape.head_dim, {call.qkv, call.out, call.dout, call.dqkv});
  return args;
}

void launch_tiles(SimpleKernel kernel, const char* name, cudaStream_t stream, const SimpleArgs& args,
                  int tile, std::int64_t heads, int tiles, int scores) {
  const std::size_t bytes = tiles_bytes(tile, args.padded_dim, tiles, scores);
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
      name);
  RLCPP_CHECK(heads <= 65535);  // the y dimension of a grid
  const dim3 grid(grid_of(ceil_div(args.rows, tile)), static_cast<unsigned>(heads));
  kernel<<<grid, kTileThreads, bytes, stream>>>(args);
  check_launch(name);
}

}  // namespace

void simple_attention_forward(cudaStream_t stream, const SimpleAttention& call) {
  if (call.rows == 0) return;
  const SimpleArgs args = simple_args(call);
  const SimpleKernels kernels = simple_kernels(args.padded_dim);
  launch_tiles(kernels.forward, "attention_forward", stream, args, kernels.tile, args.heads, 3, 1);
}

void simple_attention_backward(cudaStream_t stream, const SimpleAttention& call) {
  if (call.rows == 0) return;
  const SimpleArgs args = simple_args(call);
  const SimpleKernels kernels = simple_kernels(args.padded_dim);
  const std::int64_t items = static_cast<std::int64_t>(args.rows) * args.heads;
  simple_delta_kernel<<<grid_of(ceil_div(items, kTileWarps)), kTileThreads, 0, stream>>>(args);
  check_launch("attention_backward: delta");
  launch_tiles(kernels.dq, "attention_backward: dq", stream, args, kernels.tile, args.heads, 4, 2);
  launch_tiles(kernels.dkv, "attention_backward: dk, dv", stream, args, kernels.tile, call.shape.num_kv_heads,
               4, 2);
}

}  // namespace rlcpp::ops::cuda
