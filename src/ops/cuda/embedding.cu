// Token embedding. The gradient sorts the rows of dy by id, keeping the order of their positions, so that the
// rows of one id are a run; runs are summed in chunks of kChunk rows, a chunk's rows in order from zero, the
// chunks of a run in order, and the run's sum is added to the table: one order for every device, no atomics,
// and an id that fills the batch keeps as many blocks busy as one that is rare.
//
// Ids are not looked at here: whoever uploads them has checked that they are in [0, V).
#include "ops/cuda/embedding.h"

#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "ops/cuda/embedding_cuda.h"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kEmbeddingThreads = 128;
constexpr int kEmbeddingTile = kEmbeddingThreads * kVector;  // columns of a block
constexpr int kIndexThreads = 256;                           // of kernels with a thread a row
constexpr int kChunk = 64;
static_assert(kChunk <= kEmbeddingThreads);  // a thread looks at each row of a chunk

// y[row] = table[ids[row]], bit for bit. Tiles of one row lie side by side in the grid.
template <bool kAligned>
__global__ void __launch_bounds__(kEmbeddingThreads)
    embedding_kernel(bf16* y, const bf16* table, const std::int32_t* ids, std::int64_t h, unsigned tiles) {
  const std::int64_t row = blockIdx.x / tiles;
  const std::int64_t column =
      static_cast<std::int64_t>(blockIdx.x % tiles) * kEmbeddingTile + threadIdx.x * kVector;
  if (column >= h) return;
  const bf16* from = table + ids[row] * h + column;
  bf16* to = y + row * h + column;
  if constexpr (kAligned) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      if (column + i < h) to[i] = from[i];
    }
  }
}

__global__ void __launch_bounds__(kIndexThreads) count_up_kernel(std::int32_t* values, std::int64_t rows) {
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * kIndexThreads + threadIdx.x;
  if (j < rows) values[j] = static_cast<std::int32_t>(j);
}

// The first index in [low, high) where ids, which do not fall, are at least `id`; `high` if there is none.
__device__ inline std::int64_t first_at_least(const std::uint32_t* ids, std::int64_t low, std::int64_t high,
                                              std::uint32_t id) {
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (ids[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Rows sorted by id: the j-th has id ids[j] and is row places[j] of dy.
struct SortedRows {
  const std::uint32_t* ids;
  const std::int32_t* places;
  const std::int32_t* begins;  // where the run of j starts
  float* partials;  // [rows / kChunk, h]: the sum of the full chunk that starts in these kChunk rows
  const bf16* dy;
  float* dtable;
  std::int64_t rows;
  std::int64_t h;
  unsigned tiles;
};

__global__ void __launch_bounds__(kIndexThreads)
    run_begins_kernel(std::int32_t* begins, const std::uint32_t* ids, std::int64_t rows) {
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * kIndexThreads + threadIdx.x;
  if (j < rows) begins[j] = static_cast<std::int32_t>(first_at_least(ids, 0, j, ids[j]));
}

__device__ inline void add(Float8& sum, const Float8& value) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) sum[i] += value[i];
}

// The rows j .. j + count of the sorted order, added in that order.
template <bool kAligned>
__device__ Float8 sum_of_rows(const SortedRows& s, std::int64_t j, int count, std::int64_t column) {
  Float8 sum = {};
#pragma unroll 8
  for (int r = 0; r < count; ++r) {
    add(sum, load_vector<kAligned>(s.dy + s.places[j + r] * s.h + column, s.h - column));
  }
  return sum;
}

template <bool kAligned>
__device__ void add_to_table(const SortedRows& s, std::uint32_t id, const Float8& sum, std::int64_t column) {
  float* to = s.dtable + id * s.h + column;
  Float8 value = load_vector<kAligned>(to, s.h - column);
  add(value, sum);
  store_vector<kAligned>(to, value, s.h - column);
}

__device__ inline std::int64_t column_of(const SortedRows& s) {
  return static_cast<std::int64_t>(blockIdx.x % s.tiles) * kEmbeddingTile + threadIdx.x * kVector;
}

// The block of row j works if a chunk starts there. A run of one chunk is finished here; of a longer one the
// full chunks leave their sums. Full chunks do not overlap, so at most one starts in any kChunk rows: j /
// kChunk is a place of its own.
template <bool kAligned>
__global__ void __launch_bounds__(kEmbeddingThreads) chunk_sums_kernel(const SortedRows s) {
  const std::int64_t j = blockIdx.x / s.tiles;
  const std::int64_t offset = j - s.begins[j];
  if (offset % kChunk != 0) return;
  const std::uint32_t id = s.ids[j];
  const std::int64_t next = j + threadIdx.x;
  const int count = __syncthreads_count(threadIdx.x < kChunk && next < s.rows && s.ids[next] == id);
  const bool alone = offset == 0 && (j + kChunk >= s.rows || s.ids[j + kChunk] != id);
  const std::int64_t column = column_of(s);
  if (column >= s.h || (!alone && count < kChunk)) return;
  const Float8 sum = sum_of_rows<kAligned>(s, j, count, column);
  if (alone) {
    add_to_table<kAligned>(s, id, sum, column);
  } else {
    store_vector<kAligned>(s.partials + j / kChunk * s.h + column, sum, s.h - column);
  }
}

// The block of row j works if a run of more than kChunk rows starts there: its full chunks, then the rest.
template <bool kAligned>
__global__ void __launch_bounds__(kEmbeddingThreads) long_runs_kernel(const SortedRows s) {
  const std::int64_t j = blockIdx.x / s.tiles;
  const std::int64_t column = column_of(s);
  if (column >= s.h || s.begins[j] != j || j + kChunk >= s.rows) return;
  const std::uint32_t id = s.ids[j];
  if (s.ids[j + kChunk] != id) return;
  const std::int64_t rows = first_at_least(s.ids, j + kChunk, s.rows, id + 1) - j;
  const std::int64_t full = rows / kChunk;
  const float* partial = s.partials + j / kChunk * s.h + column;
  Float8 sum = {};
#pragma unroll 8
  for (std::int64_t c = 0; c < full; ++c) add(sum, load_vector<kAligned>(partial + c * s.h, s.h - column));
  add(sum, sum_of_rows<kAligned>(s, j + full * kChunk, static_cast<int>(rows % kChunk), column));
  add_to_table<kAligned>(s, id, sum, column);
}

// Bits of the largest id.
int id_bits(std::int64_t vocabulary) {
  const int bits = std::bit_width(static_cast<std::uint64_t>(vocabulary) - 1);
  return bits > 1 ? bits : 1;
}

// A stable sort; with `temporary` null, only its size is found.
void sort_by_id(void* temporary, std::size_t& bytes, const std::uint32_t* ids, std::uint32_t* sorted_ids,
                const std::int32_t* rows_in, std::int32_t* rows_out, std::int64_t rows, int bits,
                cudaStream_t stream) {
  rlcpp::cuda::check(cub::DeviceRadixSort::SortPairs(temporary, bytes, ids, sorted_ids, rows_in, rows_out,
                                                     static_cast<int>(rows), 0, bits, stream),
                     "cub::DeviceRadixSort::SortPairs");
}

// Scratch of a call of this size.
struct EmbeddingScratch {
  std::uint32_t* sorted_ids;
  std::int32_t* rows_in;
  std::int32_t* places;
  std::int32_t* begins;
  float* partials;
  std::byte* sort;
  std::size_t sort_bytes = 0;
  std::size_t bytes;

  EmbeddingScratch(void* base, std::int64_t rows, std::int64_t h) {
    ScratchLayout layout(base);
    const auto count = static_cast<std::size_t>(rows);
    // For ids of any size; sorting by fewer bits takes no more.
    sort_by_id(nullptr, sort_bytes, nullptr, nullptr, nullptr, nullptr, rows, 32, nullptr);
    sorted_ids = layout.take<std::uint32_t>(count);
    rows_in = layout.take<std::int32_t>(count);
    places = layout.take<std::int32_t>(count);
    begins = layout.take<std::int32_t>(count);
    partials = layout.take<float>(static_cast<std::size_t>(rows / kChunk * h));
    sort = layout.take<std::byte>(sort_bytes);
    bytes = layout.bytes();
  }
};

}  // namespace

std::size_t embedding_scratch(const WorkspaceNeeds& needs) {
  return needs.tokens == 0 ? 0 : EmbeddingScratch(nullptr, needs.tokens, needs.hidden_size).bytes;
}

void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids) {
  const std::int64_t h = table.dim(1);
  if (y.size() == 0) return;
  const std::int64_t tiles = ceil_div(h, kEmbeddingTile);
  const auto kernel =
      vectorisable(h, {y.raw(), table.raw()}) ? embedding_kernel<true> : embedding_kernel<false>;
  kernel<<<grid_of(ids.dim(0) * tiles), kEmbeddingThreads, 0, stream_of(ctx)>>>(
      address<bf16>(y), address<const bf16>(table), address<const std::int32_t>(ids), h,
      static_cast<unsigned>(tiles));
  check_launch("embedding_forward");
}

void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids) {
  const std::int64_t rows = ids.dim(0);
  const std::int64_t h = dtable.dim(1);
  if (dy.size() == 0) return;
  const cudaStream_t stream = stream_of(ctx);
  const std::size_t bytes = EmbeddingScratch(nullptr, rows, h).bytes;
  EmbeddingScratch scratch(ctx.cuda->scratch(bytes, "embedding_backward"), rows, h);

  const unsigned row_blocks = grid_of(ceil_div(rows, kIndexThreads));
  count_up_kernel<<<row_blocks, kIndexThreads, 0, stream>>>(scratch.rows_in, rows);
  check_launch("embedding_backward: positions");
  sort_by_id(scratch.sort, scratch.sort_bytes,
             reinterpret_cast<const std::uint32_t*>(address<const std::int32_t>(ids)), scratch.sorted_ids,
             scratch.rows_in, scratch.places, rows, id_bits(dtable.dim(0)), stream);
  run_begins_kernel<<<row_blocks, kIndexThreads, 0, stream>>>(scratch.begins, scratch.sorted_ids, rows);
  check_launch("embedding_backward: runs");

  const std::int64_t tiles = ceil_div(h, kEmbeddingTile);
  const SortedRows sorted = {
      scratch.sorted_ids,          scratch.places,         scratch.begins, scratch.partials,
      address<const bf16>(dy),     address<float>(dtable), rows,           h,
      static_cast<unsigned>(tiles)};
  const bool aligned = vectorisable(h, {dtable.raw(), dy.raw()});
  const unsigned blocks = grid_of(rows * tiles);
  (aligned ? chunk_sums_kernel<true>
           : chunk_sums_kernel<false>)<<<blocks, kEmbeddingThreads, 0, stream>>>(sorted);
  check_launch("embedding_backward: chunks");
  if (rows <= kChunk) return;
  (aligned ? long_runs_kernel<true>
           : long_runs_kernel<false>)<<<blocks, kEmbeddingThreads, 0, stream>>>(sorted);
  check_launch("embedding_backward: long runs");
}

}  // namespace rlcpp::ops::cuda
