// One block a row, which it reads once: a warp takes tiles of 1024 logits and leaves of each its maximum and
// the sum of exp(z - maximum). From those the draw finds a tile, and only that tile is read again.
#include "ops/cuda/launch.cuh"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/sampling.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / kWarp;
constexpr int kSampleTile = 1024;
constexpr int kOfLane = kSampleTile / kWarp;

struct SampleArgs {
  std::int32_t* ids;
  float* logprobs;
  const float *logits, *temperatures, *uniforms;
  std::int64_t vocabulary;
  int tiles;
};

// z / temperature, or z where the draw is greedy; minus infinity beyond the row.
__device__ float score_at(const float* row, std::int64_t i, std::int64_t length, float temperature) {
  if (i >= length) return -INFINITY;
  return temperature == 0.0F || temperature == 1.0F ? row[i] : row[i] / temperature;
}

// The inclusive sum over lanes 0 to this one.
__device__ double lanes_up_to(double value) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const double below = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += below;
  }
  return value;
}

// Where a running sum over weights first exceeds `goal`, by one warp. Lane l has weights [l * each, (l + 1) *
// each) of `count`, which weight(i) gives; `before` becomes the sum in front of the place. Rounding may leave
// the goal beyond the last weight: then the last place that has any is meant. -1: none has.
template <class Weight>
__device__ int find_place(int count, int each, double goal, double& before, Weight weight) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int begin = min(lane * each, count), end = min(begin + each, count);
  double mine = 0.0;
  int last = -1;
  for (int i = begin; i < end; ++i) {
    const double w = weight(i);
    mine += w;
    if (w > 0.0) last = i;
  }
  const double up_to = before + lanes_up_to(mine);
  const unsigned beyond = __ballot_sync(kAllLanes, last >= 0 && up_to > goal);
  const unsigned any = __ballot_sync(kAllLanes, last >= 0);
  if (any == 0U) return -1;
  const int of = beyond != 0U ? __ffs(static_cast<int>(beyond)) - 1 : 31 - __clz(static_cast<int>(any));
  double sum = up_to - mine;
  int place = last;
  if (lane == of) {
    for (int i = begin; i < end; ++i) {
      const double w = weight(i);
      if (w > 0.0 && sum + w > goal) {
        place = i;
        break;
      }
      if (i == last) break;
      sum += w;
    }
  }
  before = __shfl_sync(kAllLanes, sum, of);
  return __shfl_sync(kAllLanes, place, of);
}

__global__ void __launch_bounds__(kSampleThreads) sample_rows_kernel(const SampleArgs args) {
  extern __shared__ float of_tile[];  // [tiles] maxima, [tiles] sums
  float* const most_of = of_tile;
  float* const sum_of = of_tile + args.tiles;
  const std::int64_t r = blockIdx.x;
  const float* const row = args.logits + r * args.vocabulary;
  const float temperature = args.temperatures[r];
  if (temperature < 0.0F) {
    if (threadIdx.x == 0) {
      args.ids[r] = -1;
      args.logprobs[r] = NAN;
    }
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;

  float most = -INFINITY;
  for (int tile = warp; tile < args.tiles; tile += kSampleWarps) {
    float z[kOfLane];
    float tile_most = -INFINITY;
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      z[i] = score_at(row, std::int64_t{tile} * kSampleTile + i * kWarp + lane, args.vocabulary, temperature);
      tile_most = fmaxf(tile_most, z[i]);
    }
    tile_most = warp_max(tile_most);
    float sum = 0.0F;
    const float shift = tile_most == -INFINITY ? 0.0F : tile_most;
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) sum += expf(z[i] - shift);
    sum = warp_sum(sum);
    if (lane == 0) {
      most_of[tile] = tile_most;
      sum_of[tile] = sum;
    }
    most = fmaxf(most, tile_most);
  }
  most = block_max(most);
  if (warp != 0) return;

  // The rest is one warp's.
  const int tiles_each = (args.tiles + kWarp - 1) / kWarp;
  double mine = 0.0;
  const auto weight_of = [&](int tile) {
    return static_cast<double>(sum_of[tile]) * static_cast<double>(expf(most_of[tile] - most));
  };
  for (int i = lane * tiles_each; i < min((lane + 1) * tiles_each, args.tiles); ++i) mine += weight_of(i);
  const double total = __shfl_sync(kAllLanes, lanes_up_to(mine), kWarp - 1);
  const float lse = most + static_cast<float>(log(total));
  if (!isfinite(lse)) {
    if (lane == 0) {
      args.ids[r] = -1;
      args.logprobs[r] = NAN;
    }
    return;
  }
  int chosen = -1;
  if (temperature == 0.0F) {
    int tile = args.tiles;
    for (int i = lane; i < args.tiles; i += kWarp) {
      if (most_of[i] == most) tile = min(tile, i);
    }
    tile = __reduce_min_sync(kAllLanes, tile);
    int place = kSampleTile;
    for (int i = lane; i < kSampleTile; i += kWarp) {
      const std::int64_t at = std::int64_t{tile} * kSampleTile + i;
      if (at < args.vocabulary && row[at] == most) place = min(place, i);
    }
    chosen = tile * kSampleTile + __reduce_min_sync(kAllLanes, place);
  } else {
    const double goal = static_cast<double>(args.uniforms[r]) * total;
    double before = 0.0;
    const int tile = find_place(args.tiles, tiles_each, goal, before, weight_of);
    const std::int64_t begin = std::int64_t{tile} * kSampleTile;
    const int place = find_place(kSampleTile, kOfLane, goal, before, [&](int i) {
      return static_cast<double>(expf(score_at(row, begin + i, args.vocabulary, temperature) - most));
    });
    chosen = tile * kSampleTile + place;
  }
  if (lane != 0) return;
  args.ids[r] = chosen;
  args.logprobs[r] = score_at(row, chosen, args.vocabulary, temperature) - lse;
}

constexpr int kTakeThreads = 256;

__global__ void __launch_bounds__(kTakeThreads)
    take_sampled_kernel(std::int32_t* ids, const std::int32_t* sources, const std::int32_t* drawn,
                        std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kTakeThreads + threadIdx.x;
  if (i < count && sources[i] >= 0) ids[i] = max(drawn[sources[i]], 0);
}

}  // namespace

void take_sampled(const Context& ctx, const Tensor& ids, const Tensor& sources, const Tensor& drawn) {
  const std::int64_t count = ids.dim(0);
  if (count == 0) return;
  take_sampled_kernel<<<grid_of(ceil_div(count, kTakeThreads)), kTakeThreads, 0, stream_of(ctx)>>>(
      address<std::int32_t>(ids), address<const std::int32_t>(sources), address<const std::int32_t>(drawn),
      count);
  check_launch("take_sampled");
}

void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms) {
  SampleArgs args = {};
  args.ids = address<std::int32_t>(ids);
  args.logprobs = address<float>(logprobs);
  args.logits = address<const float>(logits);
  args.temperatures = address<const float>(temperatures);
  args.uniforms = address<const float>(uniforms);
  args.vocabulary = logits.dim(1);
  if (logits.dim(0) == 0) return;
  const std::int64_t tiles = ceil_div(args.vocabulary, kSampleTile);
  RLCPP_CHECK(tiles <= 5000);  // shared memory: a vocabulary of five millions
  args.tiles = static_cast<int>(tiles);
  const std::size_t bytes = 2 * static_cast<std::size_t>(tiles) * sizeof(float);
  sample_rows_kernel<<<grid_of(logits.dim(0)), kSampleThreads, bytes, stream_of(ctx)>>>(args);
  check_launch("sample_rows");
}

}  // namespace rlcpp::ops::cuda
