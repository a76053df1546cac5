#include "ops/cuda/head_hopper.h"

#include <algorithm>

#include "ops/cuda/gemm_hopper.cuh"
#include "ops/cuda/head_cuda.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/matmul_cuda.h"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/tensor_map.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634F;
constexpr float kLn2 = 0.6931471805599453F;
// Exponents are of 2. A row of no interest has this reference and next to no scale: all its weights are 0.
constexpr float kNowhere = 1000.0F;
constexpr float kNoScale = 1e-30F;
constexpr float kLargestTotal = 0x1p60F;

// Of one row: score s of a token is z scale - reference.
struct RowScale {
  float scale, reference;
};
// Of one row and tile of columns, the target left out: sum of e = 2^s and of e s.
struct TileSums {
  float sum, weighted;
};

struct HopperHeadArgs {
  GemmShape shape;              // rows of the chunk, vocabulary, hidden size
  const bf16* hidden;           // [rows, depth]
  const bf16* w;                // [vocabulary, depth]
  const std::int32_t* targets;  // [rows]
  const float* temperatures;    // [rows]
  RowScale* scales;             // [rows]
  float* target_scores;         // [rows]
  TileSums* sums;               // [tiles of columns, rows]
  float* factors;               // [rows]: f of head_hopper.h without the coefficient
  int* flagged;                 // [rows]: the total left the range
  bf16* weights;                // [rows, vocabulary]: e; null: not wanted
  float* logprobs;              // [rows]; null: not wanted
  float* entropies;             // [rows]; null: not wanted
};

template <bool kStore>
__global__ void __launch_bounds__(kGemmThreads, 1)
    head_weights_kernel(const __grid_constant__ CUtensorMap hidden_map,
                        const __grid_constant__ CUtensorMap w_map,
                        const __grid_constant__ CUtensorMap weights_map, const HopperHeadArgs args) {
#if RLCPP_SM90A
  GemmShared& shared = gemm_shared();
  gemm_begin(shared);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup;
  const GemmShape& shape = args.shape;
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) gemm_load<false>(shared, {&hidden_map, &w_map}, {}, shape);
  } else {
    more_registers<240>();
    const int part = group - 1;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int own_row = part * 64 + static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane / 4;
    const int clusters = static_cast<int>(gridDim.x) / kGemmPair;
    float z[128];
    GemmPlace at;
    for (int pair = static_cast<int>(blockIdx.x) / kGemmPair; pair < shape.pairs(); pair += clusters) {
      const int tile_row = (pair % shape.row_pairs() * kGemmPair + cluster_rank()) * kGemmRows;
      const int tile = pair / shape.row_pairs();
      const int column = tile * kGemmColumns;
      RowScale of[2];
      int target[2];  // in this thread's columns of the tile, if not negative and below 256
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = tile_row + own_row + 8 * i;
        of[i] = row < shape.rows ? args.scales[row] : RowScale{kNoScale, kNowhere};
        target[i] = row < shape.rows ? args.targets[row] - column - lane % 4 * 2 : -1;
      }
      gemm_tile<false>(shared, z, at, part, shape);

#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float nothing = (of[i].reference - kNowhere) / of[i].scale;  // a logit without weight
        if (target[i] >= 0 && target[i] < kGemmColumns) {
#pragma unroll
          for (int c = 0; c < 64; ++c) {
            float& own = z[c / 2 * 4 + 2 * i + c % 2];
            if (target[i] == c / 2 * 8 + c % 2) {
              args.target_scores[tile_row + own_row + 8 * i] = fmaf(own, of[i].scale, -of[i].reference);
              own = nothing;
            }
          }
        }
        if (column + kGemmColumns > shape.columns) {
#pragma unroll
          for (int c = 0; c < 64; ++c) {
            if (column + lane % 4 * 2 + c / 2 * 8 + c % 2 >= shape.columns)
              z[c / 2 * 4 + 2 * i + c % 2] = nothing;
          }
        }
      }
      TileSums sums[2] = {};
#pragma unroll
      for (int box = 0; box < 4; ++box) {
        float* const e = z + 32 * box;
#pragma unroll
        for (int k = 0; k < 32; ++k) {
          const int i = k / 2 % 2;
          const float s = fmaf(e[k], of[i].scale, -of[i].reference);
          e[k] = fast_exp2(s);
          sums[i].sum += e[k];
          sums[i].weighted = fmaf(e[k], s, sums[i].weighted);
        }
        if constexpr (kStore) {
          std::uint32_t pairs[16];
          round_pairs(pairs, e);
          gemm_store(shared, &weights_map, part, box, column + 64 * box, tile_row + part * 64, pairs);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        sums[i].sum = warp_sum<4>(sums[i].sum);
        sums[i].weighted = warp_sum<4>(sums[i].weighted);
        const int row = tile_row + own_row + 8 * i;
        if (lane % 4 == 0 && row < shape.rows)
          args.sums[static_cast<std::int64_t>(tile) * shape.rows + row] = sums[i];
      }
    }
    if constexpr (kStore) gemm_stores_done();
  }
  gemm_end();
#endif
}

constexpr int kReferenceThreads = 256;

// A warp a row: the score of its target, about which the others are computed.
__global__ void __launch_bounds__(kReferenceThreads) head_reference_kernel(const HopperHeadArgs args) {
  const int row = static_cast<int>((blockIdx.x * kReferenceThreads + threadIdx.x) / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (row >= args.shape.rows) return;
  const std::int32_t target = args.targets[row];
  RowScale scale = {kNoScale, kNowhere};
  if (target >= 0) {
    float sum = 0.0F;
    if (target < args.shape.columns) {
      const bf16* const h = args.hidden + static_cast<std::int64_t>(row) * args.shape.depth;
      const bf16* const w = args.w + static_cast<std::int64_t>(target) * args.shape.depth;
      for (int k = lane * kVector; k < args.shape.depth; k += kWarp * kVector) {
        const Float8 a = load_vector<true>(h + k, kVector);
        const Float8 b = load_vector<true>(w + k, kVector);
#pragma unroll
        for (int i = 0; i < kVector; ++i) sum = fmaf(a[i], b[i], sum);
      }
    } else {
      sum = NAN;  // the host cannot see a target that is no token; the loss will
    }
    scale.scale = kLog2E / args.temperatures[row];
    scale.reference = warp_sum(sum) * scale.scale;
  }
  if (lane != 0) return;
  args.scales[row] = scale;
  args.target_scores[row] = NAN;  // written by the tile that has it
}

// What a row's sums say; one thread.
__device__ void finish_row(const HopperHeadArgs& args, std::int64_t row, float scale, float score,
                           const TileSums& others) {
  const std::int32_t target = args.targets[row];
  if (target < 0) {
    if (args.logprobs != nullptr) args.logprobs[row] = 0.0F;
    if (args.entropies != nullptr) args.entropies[row] = 0.0F;
    args.factors[row] = 0.0F;
    return;
  }
  const float own = exp2f(score);
  const float total = others.sum + own;
  const float log_total = log2f(total);
  if (args.logprobs != nullptr) args.logprobs[row] = (score - log_total) * kLn2;
  if (args.entropies != nullptr) {
    const float weighted = others.weighted + (own > 0.0F ? own * score : 0.0F);
    args.entropies[row] = (log_total - weighted / total) * kLn2;
  }
  args.factors[row] = -scale * kLn2 / total;
  if (args.weights != nullptr && target < args.shape.columns)
    args.weights[row * args.shape.columns + target] = from_float<bf16>(-others.sum);
}

constexpr int kFinishRows = 32, kFinishParts = 16;

// 32 rows a block; the sums of a row's tiles are added in 16 parts, each in ascending order, then the parts.
__global__ void __launch_bounds__(kFinishRows* kFinishParts) head_finish_kernel(const HopperHeadArgs args) {
  __shared__ TileSums of_part[kFinishParts][kFinishRows];
  const int own = static_cast<int>(threadIdx.x) % kFinishRows,
            part = static_cast<int>(threadIdx.x) / kFinishRows;
  const std::int64_t rows = args.shape.rows, row = std::int64_t{blockIdx.x} * kFinishRows + own;
  TileSums sums = {0.0F, 0.0F};
  const int tiles = args.shape.column_tiles(), each = (tiles + kFinishParts - 1) / kFinishParts;
  if (row < rows) {
#pragma unroll 8
    for (int t = part * each; t < min(tiles, (part + 1) * each); ++t) {
      const TileSums tile = args.sums[t * rows + row];
      sums.sum += tile.sum;
      sums.weighted += tile.weighted;
    }
  }
  of_part[part][own] = sums;
  __syncthreads();
  if (part != 0 || row >= rows) return;
  for (int p = 1; p < kFinishParts; ++p) {
    sums.sum += of_part[p][own].sum;
    sums.weighted += of_part[p][own].weighted;
  }
  const bool beyond = args.targets[row] >= 0 && sums.sum > kLargestTotal;
  args.flagged[row] = beyond ? 1 : 0;
  if (!beyond) finish_row(args, row, args.scales[row].scale, args.target_scores[row], sums);
}

constexpr int kAgainThreads = 512;

// The rows whose total left the range, about their maximum: one block a row, the scores as plain dot
// products, twice. Rare, and slow.
__global__ void __launch_bounds__(kAgainThreads) head_again_kernel(const HopperHeadArgs args) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int columns = args.shape.columns, depth = args.shape.depth;
  for (std::int64_t row = blockIdx.x; row < args.shape.rows; row += gridDim.x) {
    if (args.flagged[row] == 0) continue;
    const bf16* const h = args.hidden + row * depth;
    const float scale = args.scales[row].scale;
    const auto score_of = [&](std::int64_t column) {
      float sum = 0.0F;
      for (int k = lane * kVector; k < depth; k += kWarp * kVector) {
        const Float8 a = load_vector<true>(h + k, kVector);
        const Float8 b = load_vector<true>(args.w + column * depth + k, kVector);
#pragma unroll
        for (int i = 0; i < kVector; ++i) sum = fmaf(a[i], b[i], sum);
      }
      return warp_sum(sum) * scale;
    };
    float largest = -INFINITY;
    for (int v = warp; v < columns; v += kAgainThreads / kWarp) largest = fmaxf(largest, score_of(v));
    largest = block_max(largest);
    const std::int32_t target = args.targets[row];
    TileSums others = {0.0F, 0.0F};
    for (int v = warp; v < columns; v += kAgainThreads / kWarp) {
      const float score = score_of(v) - largest;
      const float e = exp2f(score);
      if (lane != 0 || v == target) continue;
      others.sum += e;
      others.weighted += e > 0.0F ? e * score : 0.0F;
      if (args.weights != nullptr) args.weights[row * columns + v] = from_float<bf16>(e);
    }
    others.sum = block_sum(others.sum);
    others.weighted = block_sum(others.weighted);
    const float score = score_of(target) - largest;
    if (threadIdx.x == 0) finish_row(args, row, scale, score, others);
    __syncthreads();
  }
}

constexpr int kScaledThreads = 256;

// out = rows times their factors and coefficients; 0 where that is 0. A block a row.
__global__ void __launch_bounds__(kScaledThreads)
    scaled_rows_kernel(bf16* out, const bf16* rows, const float* factors, const float* coefficients,
                       int width) {
  const float coefficient = coefficients[blockIdx.x];
  const float factor = coefficient == 0.0F ? 0.0F : factors[blockIdx.x] * coefficient;
  const std::int64_t begin = std::int64_t{blockIdx.x} * width;
  for (int i = static_cast<int>(threadIdx.x) * kVector; i < width; i += kScaledThreads * kVector) {
    Float8 values = load_vector<true>(rows + begin + i, kVector);
#pragma unroll
    for (int k = 0; k < kVector; ++k) values[k] = factor == 0.0F ? 0.0F : values[k] * factor;
    store_vector<true>(out + begin + i, values, kVector);
  }
}

bool hopper_code() {
  static const bool found = has_hopper_code(head_weights_kernel<true>);
  return found;
}

// Parts of the memory of the caller's logits for `rows` rows at a time.
struct ChunkMemory {
  bf16* weights;
  bf16* scaled;  // hidden times its factors
  RowScale* scales;
  float* target_scores;
  TileSums* sums;
  float* factors;
  int* flagged;
  std::size_t bytes;
};
ChunkMemory cut(void* memory, std::int64_t rows, std::int64_t vocabulary, std::int64_t depth) {
  ScratchLayout layout(memory);
  const auto n = static_cast<std::size_t>(rows);
  ChunkMemory m = {};
  m.weights = layout.take<bf16>(n * static_cast<std::size_t>(vocabulary));
  m.scaled = layout.take<bf16>(n * static_cast<std::size_t>(depth));
  m.scales = layout.take<RowScale>(n);
  m.target_scores = layout.take<float>(n);
  m.sums = layout.take<TileSums>(n * static_cast<std::size_t>(ceil_div(vocabulary, kGemmColumns)));
  m.factors = layout.take<float>(n);
  m.flagged = layout.take<int>(n);
  m.bytes = layout.bytes();
  return m;
}

// Rows at a time: as many as the logits' memory holds, in chunks of about one size, whole pairs of tiles if
// there are several.
std::int64_t chunk_rows(const HeadInputs& in) {
  constexpr std::int64_t kPairRows = kGemmPair * kGemmRows;
  const std::int64_t vocabulary = in.w.dim(0), depth = in.w.dim(1), rows = in.hidden.dim(0);
  const auto fits = [&](std::int64_t n) {
    return cut(nullptr, n, vocabulary, depth).bytes <= in.logits.bytes();
  };
  std::int64_t most = 2 * in.logits.dim(0);  // bf16 in the place of f32
  while (most > 0 && !fits(most)) most -= std::max<std::int64_t>(1, most / 256);
  if (most >= rows) return rows;
  if (most < kPairRows) return most;
  most = most / kPairRows * kPairRows;
  const std::int64_t chunks = ceil_div(rows, most);
  return std::min(most, ceil_div(ceil_div(rows, chunks), kPairRows) * kPairRows);
}

template <bool kStore>
void launch_weights(const Context& ctx, const HopperHeadArgs& args) {
  const GemmShape& s = args.shape;
  const CUtensorMap hidden = boxes_of(args.hidden, s.rows, s.depth, kGemmRows);
  const CUtensorMap w = boxes_of(args.w, s.columns, s.depth, kGemmColumns / kGemmPair);
  const CUtensorMap weights =
      kStore ? boxes_of(args.weights, s.rows, s.columns, kGemmOutRows) : CUtensorMap{};
  launch_gemm(head_weights_kernel<kStore>, stream_of(ctx), ctx.cuda->multiprocessors(), s, "head: weights",
              hidden, w, weights, args);
}

// Log-probabilities, entropies, factors and weights of a chunk.
void weigh(const Context& ctx, const HopperHeadArgs& args) {
  const cudaStream_t stream = stream_of(ctx);
  const std::int64_t rows = args.shape.rows;
  head_reference_kernel<<<grid_of(ceil_div(rows * kWarp, kReferenceThreads)), kReferenceThreads, 0, stream>>>(
      args);
  check_launch("head: reference");
  if (args.weights != nullptr) {
    launch_weights<true>(ctx, args);
  } else {
    launch_weights<false>(ctx, args);
  }
  head_finish_kernel<<<grid_of(ceil_div(rows, kFinishRows)), kFinishRows * kFinishParts, 0, stream>>>(args);
  check_launch("head: finish");
  const std::int64_t blocks = std::min<std::int64_t>(rows, ctx.cuda->multiprocessors());
  head_again_kernel<<<grid_of(blocks), kAgainThreads, 0, stream>>>(args);
  check_launch("head: rows out of range");
}

}  // namespace

bool hopper_head_takes(const HeadInputs& in) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t vocabulary = in.w.dim(0), depth = in.w.dim(1);
  return hopper_code() && vocabulary % kVector == 0 && depth % kVector == 0 && vocabulary > 0 && depth > 0 &&
         vocabulary <= kMost && in.hidden.dim(0) <= kMost &&
         vectorisable(depth, {in.hidden.raw(), in.w.raw(), in.logits.raw()}) && chunk_rows(in) > 0;
}

void hopper_head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in) {
  const std::int64_t rows = in.hidden.dim(0), vocabulary = in.w.dim(0), depth = in.w.dim(1);
  const bool gradient = !visit.dhidden.empty();
  const cudaStream_t stream = stream_of(ctx);
  const std::int64_t chunk = chunk_rows(in);
  const bool kept = in.kept && chunk >= rows, statistics = !visit.logprobs.empty();
  const auto at = [](const Tensor& t, std::int64_t row) {
    return t.empty() ? nullptr : static_cast<float*>(t.raw()) + row;
  };
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t count = std::min(chunk, rows - begin);
    const ChunkMemory memory = cut(in.logits.raw(), count, vocabulary, depth);
    const Tensor hidden = in.hidden.rows(begin, count);
    HopperHeadArgs args = {};
    args.shape = {static_cast<int>(count), static_cast<int>(vocabulary), static_cast<int>(depth), 0, 0};
    args.hidden = address<const bf16>(hidden);
    args.w = address<const bf16>(in.w);
    args.targets = static_cast<const std::int32_t*>(in.targets.raw()) + begin;
    args.temperatures = at(in.temperatures, begin);
    args.scales = memory.scales;
    args.target_scores = memory.target_scores;
    args.sums = memory.sums;
    args.factors = memory.factors;
    args.flagged = memory.flagged;
    args.weights = gradient || kept ? memory.weights : nullptr;
    args.logprobs = at(visit.logprobs, begin);
    args.entropies = at(visit.entropies, begin);

    if (statistics || !kept) weigh(ctx, args);
    if (!gradient) continue;

    const Tensor weights(memory.weights, DType::kBF16, {count, vocabulary}, in.logits.device());
    const Tensor dhidden = visit.dhidden.rows(begin, count);
    const float* const coefficients = at(visit.coefficients, begin);
    product_into(ctx, dhidden, weights, false, in.w, false, false);
    scaled_rows_kernel<<<grid_of(count), kScaledThreads, 0, stream>>>(
        address<bf16>(dhidden), address<const bf16>(dhidden), memory.factors, coefficients, args.shape.depth);
    check_launch("head: dhidden");
    if (visit.dw.empty()) continue;
    const Tensor scaled(memory.scaled, DType::kBF16, {count, depth}, in.logits.device());
    scaled_rows_kernel<<<grid_of(count), kScaledThreads, 0, stream>>>(
        memory.scaled, args.hidden, memory.factors, coefficients, args.shape.depth);
    check_launch("head: scaled hidden");
    product_into(ctx, visit.dw, weights, true, scaled, false, true);
  }
}

}  // namespace rlcpp::ops::cuda
