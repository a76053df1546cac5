// One block a row: the team of ops/cuda/shaped_draw.cuh.
#include "ops/cuda/launch.cuh"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/sampling.h"
#include "ops/cuda/shaped_draw.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kShapedThreads = 512;

struct Least {
  __device__ std::int32_t operator()(std::int32_t a, std::int32_t b) const { return min(a, b); }
};

class BlockTeam {
 public:
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ constexpr int size() const { return kShapedThreads; }
  __device__ void sync() const { __syncthreads(); }
  __device__ int warp() const { return rank() / kWarp; }
  __device__ constexpr int warps() const { return kShapedThreads / kWarp; }
  __device__ int lane() const { return rank() % kWarp; }
  __device__ constexpr int lanes() const { return kWarp; }
  template <class T>
  __device__ T warp_sum(T value) const {
    return cuda::warp_sum(value);
  }
  __device__ bool any(bool value) const { return __syncthreads_or(value ? 1 : 0) != 0; }
  __device__ float most(float value) const { return block_max(value); }
  __device__ std::int32_t least(std::int32_t value) const {
    return block_reduce(value, std::int32_t{0x7fffffff}, Least());
  }
  __device__ std::uint64_t sum(std::uint64_t value) const { return block_sum(value); }
  // In halves: shared memory adds 32 bits by itself, but 64 only by trying again and again.
  __device__ void add(std::uint64_t* to, std::uint64_t value) const {
    auto* const halves = reinterpret_cast<unsigned*>(to);
    const auto low = static_cast<unsigned>(value);
    auto high = static_cast<unsigned>(value >> 32);
    const unsigned before = atomicAdd(halves, low);
    if (before + low < low) ++high;
    if (high != 0U) atomicAdd(halves + 1, high);
  }
  __device__ void mark(std::uint32_t* to, std::uint32_t bits) const { atomicOr(to, bits); }
  __device__ float exp(float x) const { return expf(x); }
  __device__ double log(double x) const { return ::log(x); }
  __device__ std::uint32_t bits(float x) const { return __float_as_uint(x); }
  __device__ float value(std::uint32_t bits) const { return __uint_as_float(bits); }
};

struct ShapedArgs {
  std::int32_t* ids;
  float *logprobs, *logits;
  const std::int32_t* count;
  const ShapedRow* rows;
  const std::int32_t* lists;
  std::uint32_t* marks;
  int vocabulary, tiles;
};

__global__ void __launch_bounds__(kShapedThreads, 2) sample_shaped_kernel(const ShapedArgs args) {
  extern __shared__ std::uint64_t of_tile[];  // [tiles], and the ties of each
  __shared__ std::uint64_t cells[kShapedCells], groups[kShapedGroups];
  __shared__ ShapedPlace place;
  const auto index = static_cast<std::int32_t>(blockIdx.x);
  if (index >= *args.count) return;
  const ShapedRow request = args.rows[index];
  const ShapedMemory memory = {cells, groups, of_tile, reinterpret_cast<std::uint32_t*>(of_tile + args.tiles),
                               &place};
  const std::int64_t words = (args.vocabulary + 31) / 32;
  std::int32_t id;
  float logprob;
  draw_shaped(BlockTeam(), memory, args.logits + std::int64_t{request.row} * args.vocabulary, args.vocabulary,
              request, args.lists, args.marks + index * words, id, logprob);
  if (threadIdx.x != 0) return;
  args.ids[request.row] = id;
  args.logprobs[request.row] = logprob;
}

}  // namespace

void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped) {
  const std::int64_t most = shaped.rows.dim(0);
  const std::int64_t tiles = ceil_div(logits.dim(1), kShapedTile);
  RLCPP_CHECK(tiles <= 2000);  // shared memory: a vocabulary of two millions
  ShapedArgs args = {};
  args.ids = address<std::int32_t>(ids);
  args.logprobs = address<float>(logprobs);
  args.logits = address<float>(logits);
  args.count = address<const std::int32_t>(shaped.count);
  args.rows = reinterpret_cast<const ShapedRow*>(address<const std::int32_t>(shaped.rows));
  args.lists = address<const std::int32_t>(shaped.lists);
  args.marks = reinterpret_cast<std::uint32_t*>(address<std::int32_t>(shaped.marks));
  args.vocabulary = static_cast<int>(logits.dim(1));
  args.tiles = static_cast<int>(tiles);
  if (most == 0) return;
  const std::size_t bytes = static_cast<std::size_t>(tiles) * (sizeof(std::uint64_t) + sizeof(std::uint32_t));
  sample_shaped_kernel<<<grid_of(most), kShapedThreads, bytes, stream_of(ctx)>>>(args);
  check_launch("sample_shaped_rows");
}

}  // namespace rlcpp::ops::cuda
