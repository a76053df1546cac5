#include "ops/cuda/attention_hopper.h"

#include <cmath>

#include "ops/cuda/attention_cuda.h"
#include "ops/cuda/attention_hopper.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/tensor_map.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634F;
constexpr int kStatisticsThreads = 256;

// A warp takes 16 lanes for each of two items, an item being one head of one row.
template <int kDim>
__global__ void __launch_bounds__(kStatisticsThreads)
    hopper_statistics_kernel(QueryStatistics* statistics, const SimpleAttention call, int heads,
                             int padded_rows) {
  constexpr int kLanes = kDim / kVector;
  const std::int64_t item =
      (static_cast<std::int64_t>(blockIdx.x) * kStatisticsThreads + threadIdx.x) / kLanes;
  const bool live = item < call.rows * heads;
  float sum = 0.0F;
  if (live) {
    const std::int64_t at = item * kDim + threadIdx.x % kLanes * kVector;
    const Float8 a = load_vector<true>(call.dout + at, kVector);
    const Float8 b = load_vector<true>(call.out + at, kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum += a[i] * b[i];
  }
  sum = warp_sum<kLanes>(sum);
  if (!live || threadIdx.x % kLanes != 0) return;
  const std::int64_t row = item / heads, head = item % heads, length = call.lse_length;
  const std::int64_t lse_at = length == 0 ? item : (row / length * heads + head) * length + row % length;
  statistics[head * padded_rows + row] = {call.lse[lse_at] * kLog2E, sum};
}

// A block of keys of one kv head: dv = sum of p dout, dk = scale * sum of ds q with p = exp(score - lse) and
// ds = p (dp - delta), over the heads of the group one after the other and, for each, over the queries from
// the keys on. Scores are computed with the keys as rows, so that p and ds are the left sides of the sums as
// they lie in registers.
template <int kDim>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_dkv_kernel(const __grid_constant__ CUtensorMap qkv_map,
                      const __grid_constant__ CUtensorMap dout_map, const HopperArgs args) {
#if RLCPP_SM90A
  extern __shared__ unsigned char memory[];
  auto& shared =
      *reinterpret_cast<HopperShared<kDim>*>((reinterpret_cast<std::uintptr_t>(memory) + 1023) / 1024 * 1024);
  // Blocks of early keys have most queries to visit: they come first.
  const int kv_head = static_cast<int>(blockIdx.x) % args.kv_heads;
  const int first = static_cast<int>(blockIdx.x) / args.kv_heads * kBlockRows;
  const int last = min(first + kBlockRows, args.rows) - 1;
  const int end = args.cu_seqlens[document_of_row(args, last) + 1];
  const int steps = (end - first + kStepRows - 1) / kStepRows;
  const int total = steps * args.group;
  init_barriers(shared);

  const int group = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) {
      barrier_expect(&shared.own_full, 2 * kBlockRows * kDim * 2);
      load_head<kDim, kBlockRows>(shared.own[0], &qkv_map, (args.heads + kv_head) * kDim, first,
                                  &shared.own_full);
      load_head<kDim, kBlockRows>(shared.own[1], &qkv_map, (args.heads + args.kv_heads + kv_head) * kDim,
                                  first, &shared.own_full);
      RingPlace at;
      for (int t = 0; t < total; ++t, at.next()) {
        const int head = kv_head * args.group + t / steps;
        const int query = first + t % steps * kStepRows;
        if (t >= kStages) barrier_wait(&shared.empty[at.stage], at.phase ^ 1);
        std::uint64_t* const full = &shared.full[at.stage];
        barrier_expect(full,
                       2 * kStepRows * kDim * 2 + kStepRows * static_cast<int>(sizeof(QueryStatistics)));
        load_head<kDim, kStepRows>(shared.step[at.stage][0], &qkv_map, head * kDim, query, full);
        load_head<kDim, kStepRows>(shared.step[at.stage][1], &dout_map, head * kDim, query, full);
        copy_bytes(shared.statistics[at.stage],
                   args.statistics + static_cast<std::int64_t>(head) * args.padded_rows + query,
                   kStepRows * static_cast<int>(sizeof(QueryStatistics)), full);
      }
    }
  } else {
    more_registers<240>();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int own_row = (group - 1) * 64 + static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane / 4;
    const int key[2] = {first + own_row, first + own_row + 8};
    int end_of[2];  // of the document of each key; 0: no such key
#pragma unroll
    for (int i = 0; i < 2; ++i)
      end_of[i] = key[i] < args.rows ? args.cu_seqlens[document_of_row(args, key[i]) + 1] : 0;
    const int least_end = args.cu_seqlens[document_of_row(args, first) + 1];
    const std::uint64_t keys = tile_descriptor(shared.own[0][0] + (group - 1) * 64 * 128, 16);
    const std::uint64_t values = tile_descriptor(shared.own[1][0] + (group - 1) * 64 * 128, 16);

    float scores[32], dp[32];
    float dk[kDim / 2] = {}, dv[kDim / 2] = {};
    std::uint32_t weights[16], dweights[16];
    RingPlace now;
    const auto queue_step = [&] {
      barrier_wait(&shared.full[now.stage], now.phase);
      products_begin();
      queue_scores<kDim>(scores, keys, tile_descriptor(shared.step[now.stage][0][0], 16));
      queue_scores<kDim>(dp, values, tile_descriptor(shared.step[now.stage][1][0], 16));
    };
    pin(dk);  // zeroed here, not between products
    pin(dv);
    barrier_wait(&shared.own_full, 0);
    queue_step();
    for (int query = first, left = total;;) {
      const auto* statistics = reinterpret_cast<const float4*>(shared.statistics[now.stage]);
      products_wait<0>();
      pin(scores);
      pin(dp);
      const bool masked = query < first + kBlockRows - 1 || query + kStepRows > least_end;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float4 of = statistics[4 * j + lane % 4];  // lse, delta of two neighbouring queries
#pragma unroll
        for (int i = 0; i < 2; ++i) {  // of two keys
          float p[2], ds[2];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const int at = 4 * j + 2 * i + n;
            p[n] = fast_exp2(fmaf(scores[at], args.scale_log2, n == 0 ? -of.x : -of.z));
            ds[n] = p[n] * (dp[at] - (n == 0 ? of.y : of.w));
          }
          if (masked) {
#pragma unroll
            for (int n = 0; n < 2; ++n) {
              const int q = query + 8 * j + lane % 4 * 2 + n;
              const bool allowed = key[i] <= q && q < end_of[i];
              p[n] = allowed ? p[n] : 0.0F;
              ds[n] = allowed ? ds[n] : 0.0F;
            }
          }
          weights[2 * j + i] = pack_bf16(p[0], p[1]);
          dweights[2 * j + i] = pack_bf16(ds[0], ds[1]);
          // One after the other: what they are made of leaves its registers.
          pin(weights[2 * j + i]);
          pin(dweights[2 * j + i]);
        }
      }
      products_begin();
      queue_weighted(dv, weights, tile_descriptor(shared.step[now.stage][1][0], kBlockBytes<kStepRows>));
      queue_weighted(dk, dweights, tile_descriptor(shared.step[now.stage][0][0], kBlockBytes<kStepRows>));
      // There are no registers for the next scores while these are read; the other warpgroup has work
      // meanwhile.
      products_wait<0>();
      release(&shared.empty[now.stage]);
      now.next();
      query = query + kStepRows < end ? query + kStepRows : first;
      if (--left == 0) break;
      queue_step();
    }
    products_wait<0>();
    pin(dk);
    pin(dv);
    bf16* const to = args.dqkv + static_cast<std::int64_t>(args.heads + kv_head) * kDim;
    store_rows(to, args.width, key[0], args.rows, dk, args.scale);
    store_rows(to + static_cast<std::int64_t>(args.kv_heads) * kDim, args.width, key[0], args.rows, dv, 1.0F);
  }
#endif
}

// A block of queries of one head: dq = scale * sum over keys of ds k.
template <int kDim>
__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_dq_kernel(const __grid_constant__ CUtensorMap qkv_map,
                     const __grid_constant__ CUtensorMap dout_map, const HopperArgs args) {
#if RLCPP_SM90A
  extern __shared__ unsigned char memory[];
  auto& shared =
      *reinterpret_cast<HopperShared<kDim>*>((reinterpret_cast<std::uintptr_t>(memory) + 1023) / 1024 * 1024);
  // Late queries have most keys to visit: they come first.
  const int head = static_cast<int>(blockIdx.x) % args.heads;
  const int kv_head = head / args.group;
  const int tiles = static_cast<int>(gridDim.x) / args.heads;
  const int first = (tiles - 1 - static_cast<int>(blockIdx.x) / args.heads) * kBlockRows;
  const int end = min(first + kBlockRows, args.rows);
  const int begin = args.cu_seqlens[document_of_row(args, first)] / kStepRows * kStepRows;
  const int total = (end - begin + kStepRows - 1) / kStepRows;
  init_barriers(shared);

  const int group = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) {
      barrier_expect(&shared.own_full, 2 * kBlockRows * kDim * 2);
      load_head<kDim, kBlockRows>(shared.own[0], &qkv_map, head * kDim, first, &shared.own_full);
      load_head<kDim, kBlockRows>(shared.own[1], &dout_map, head * kDim, first, &shared.own_full);
      RingPlace at;
      for (int t = 0; t < total; ++t, at.next()) {
        if (t >= kStages) barrier_wait(&shared.empty[at.stage], at.phase ^ 1);
        std::uint64_t* const full = &shared.full[at.stage];
        const int key = begin + t * kStepRows;
        barrier_expect(full, 2 * kStepRows * kDim * 2);
        load_head<kDim, kStepRows>(shared.step[at.stage][0], &qkv_map, (args.heads + kv_head) * kDim, key,
                                   full);
        load_head<kDim, kStepRows>(shared.step[at.stage][1], &qkv_map,
                                   (args.heads + args.kv_heads + kv_head) * kDim, key, full);
      }
    }
  } else {
    more_registers<240>();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int own_row = (group - 1) * 64 + static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane / 4;
    const int query[2] = {first + own_row, first + own_row + 8};
    int from[2];  // where the document of each query begins
    QueryStatistics statistics[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool live = query[i] < args.rows;
      from[i] = live ? args.cu_seqlens[document_of_row(args, query[i])] : args.rows;
      if (live)
        statistics[i] = args.statistics[static_cast<std::int64_t>(head) * args.padded_rows + query[i]];
    }
    const int last_from = args.cu_seqlens[document_of_row(args, end - 1)];
    const std::uint64_t queries = tile_descriptor(shared.own[0][0] + (group - 1) * 64 * 128, 16);
    const std::uint64_t douts = tile_descriptor(shared.own[1][0] + (group - 1) * 64 * 128, 16);

    float scores[32], dp[32];
    float dq[kDim / 2] = {};
    std::uint32_t dweights[16];
    RingPlace now;
    const auto queue_step = [&] {
      barrier_wait(&shared.full[now.stage], now.phase);
      products_begin();
      queue_scores<kDim>(scores, queries, tile_descriptor(shared.step[now.stage][0][0], 16));
      queue_scores<kDim>(dp, douts, tile_descriptor(shared.step[now.stage][1][0], 16));
    };
    pin(dq);  // zeroed here, not between products
    barrier_wait(&shared.own_full, 0);
    queue_step();
    int before = 0;
    for (int t = 0;;) {
      const int key = begin + t * kStepRows;
      products_wait<1>();  // the scores, and dq of the step before
      pin(scores);
      if (t > 0) release(&shared.empty[before]);
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        scores[i] = fast_exp2(fmaf(scores[i], args.scale_log2, -statistics[i / 2 % 2].lse));
      }
      products_wait<0>();
      pin(dp);
#pragma unroll
      for (int i = 0; i < 32; ++i) dp[i] = scores[i] * (dp[i] - statistics[i / 2 % 2].delta);
      if (key + kStepRows - 1 > first || key < last_from) {
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          const int k = key + i / 4 * 8 + lane % 4 * 2 + i % 2;
          if (!(k <= query[i / 2 % 2] && k >= from[i / 2 % 2])) dp[i] = 0.0F;
        }
      }
      pack_weights(dweights, dp);
      pin(dweights);
      products_begin();
      queue_weighted(dq, dweights, tile_descriptor(shared.step[now.stage][0][0], kBlockBytes<kStepRows>));
      before = now.stage;
      now.next();
      if (++t == total) break;
      queue_step();
    }
    products_wait<0>();
    pin(dq);
    store_rows(args.dqkv + static_cast<std::int64_t>(head) * kDim, args.width, query[0], args.rows, dq,
               args.scale);
  }
#endif
}

using HopperKernel = void (*)(const CUtensorMap, const CUtensorMap, const HopperArgs);

bool hopper_code() {
  static const bool found = has_hopper_code(hopper_dq_kernel<128>);
  return found;
}

int padded(std::int64_t rows) {
  return static_cast<int>(ceil_div(rows, kStepRows) * kStepRows);
}

template <int kDim>
void launch_backward(cudaStream_t stream, const SimpleAttention& call, const HopperArgs& args,
                     QueryStatistics* statistics) {
  const std::int64_t threads = call.rows * args.heads * (kDim / kVector);
  hopper_statistics_kernel<kDim>
      <<<grid_of(ceil_div(threads, kStatisticsThreads)), kStatisticsThreads, 0, stream>>>(
          statistics, call, args.heads, args.padded_rows);
  check_launch("attention_backward: statistics");
  const CUtensorMap qkv = boxes_of(call.qkv, call.rows, args.width, kBoxRows);
  const CUtensorMap dout = boxes_of(call.dout, call.rows, std::int64_t{args.heads} * kDim, kBoxRows);
  constexpr int kBytes = sizeof(HopperShared<kDim>) + 1024;
  const std::int64_t tiles = ceil_div(call.rows, kBlockRows);
  const auto launch = [&](HopperKernel kernel, std::int64_t heads, const char* name) {
    rlcpp::cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
                       name);
    kernel<<<grid_of(tiles * heads), kHopperThreads, kBytes, stream>>>(qkv, dout, args);
    check_launch(name);
  };
  launch(hopper_dkv_kernel<kDim>, args.kv_heads, "attention_backward: dk, dv");
  launch(hopper_dq_kernel<kDim>, args.heads, "attention_backward: dq");
}

}  // namespace

bool hopper_backward_has(const QkvShape& shape) {
  return (shape.head_dim == 64 || shape.head_dim == 128) && hopper_code();
}

bool hopper_backward_takes(const SimpleAttention& call) {
  const QkvShape& s = call.shape;
  return hopper_backward_has(s) && call.rows > 0 &&
         call.rows * s.width() <= std::numeric_limits<std::int32_t>::max() &&
         vectorisable(s.head_dim, {call.qkv, call.out, call.dout, call.dqkv});
}

std::size_t hopper_backward_scratch(std::int64_t rows, std::int64_t num_heads) {
  return static_cast<std::size_t>(padded(rows) * num_heads) * sizeof(QueryStatistics);
}

void hopper_attention_backward(cudaStream_t stream, const SimpleAttention& call, void* scratch) {
  const QkvShape& s = call.shape;
  HopperArgs args = {};
  args.cu_seqlens = call.cu_seqlens;
  args.statistics = static_cast<const QueryStatistics*>(scratch);
  args.dqkv = call.dqkv;
  args.documents = static_cast<int>(call.documents);
  args.rows = static_cast<int>(call.rows);
  args.padded_rows = padded(call.rows);
  args.heads = static_cast<int>(s.num_heads);
  args.kv_heads = static_cast<int>(s.num_kv_heads);
  args.group = args.heads / args.kv_heads;
  args.width = static_cast<int>(s.width());
  args.scale = call.scale;
  args.scale_log2 = call.scale * kLog2E;
  auto* const statistics = static_cast<QueryStatistics*>(scratch);
  if (s.head_dim == 64) {
    launch_backward<64>(stream, call, args, statistics);
  } else {
    launch_backward<128>(stream, call, args, statistics);
  }
}

}  // namespace rlcpp::ops::cuda
