// Which rows of a paged forward a GPU computes together. Made on the host, where lengths and pages are known,
// and read on the device, so that one launch serves every step of a shape and a captured graph can be
// replayed.
//
// The keys of a sequence are cut at multiples of kPagedChunk positions. A row's sums over a chunk are made
// apart and merged in ascending order, so what is computed beside it changes no bit: not the batch, not how
// a prompt was cut, not who shares its pages.
#pragma once

#include <cstdint>
#include <span>

#include "ops/rope.h"
#include "tensor/tensor.h"

namespace rlcpp::ops {

constexpr std::int32_t kPagedChunk = 256;  // keys
constexpr std::int32_t kPagedBlock = 16;   // keys that are brought at once: page sizes are multiples of it

// One row that decodes, or several of sequences that share the pages of a chunk, as 16 query rows of the
// tensor cores (row of the batch times query head of one kv head).
struct DecodeEntry {
  static constexpr std::int32_t kMost = 16;
  std::int32_t table;       // row of block_tables
  std::int32_t chunk;       // of its keys
  std::int32_t keys;        // in this chunk, 1 to kPagedChunk
  std::int32_t count;       // rows of the batch
  std::int32_t row[kMost];  // of the batch
};
// Neighbouring tokens of one sequence: at most 64 / group of them.
struct PrefillEntry {
  std::int32_t table;
  std::int32_t row;       // of the batch: its first token
  std::int32_t position;  // of that token
  std::int32_t count;
};
constexpr std::int32_t kDecodeWidth = sizeof(DecodeEntry) / sizeof(std::int32_t);
constexpr std::int32_t kPrefillWidth = sizeof(PrefillEntry) / sizeof(std::int32_t);
constexpr std::int32_t kPrefillRows = 64;  // query rows of a tile

// True if the kernels that read it take this shape: heads of 64 or 128, at most 16 query heads a kv head,
// pages of whole blocks. (They also need a Hopper GPU: ops::takes_paged_work.)
bool paged_work_fits(const QkvShape& shape, std::int64_t page_size);

// What one sequence computes in a step: `count` tokens from position `start`, which are rows [row, row +
// count) of the batch. Sequence i of a step has row i of the block tables. Count 0: it is computed elsewhere.
struct PagedSequence {
  std::int32_t row = 0, start = 0, count = 0;
  std::span<const std::int32_t> pages;
};

struct PagedCounts {
  std::int64_t decode = 0, prefill = 0;
};
// The most entries of a step of up to these sizes.
PagedCounts most_paged_work(std::int64_t sequences, std::int64_t tokens, std::int64_t max_model_len,
                            const QkvShape& shape);

// Fills `decode` and `prefill`, whose sizes most_paged_work() gave, and says how many there are. A sequence
// with one token decodes. With `share`, neighbours whose pages of a full chunk are the same read them
// together.
PagedCounts fill_paged_work(std::span<const PagedSequence> sequences, std::int64_t page_size,
                            const QkvShape& shape, bool share, std::span<DecodeEntry> decode,
                            std::span<PrefillEntry> prefill);

// Where a device finds it. An empty `decode` stands for no work: then kernels go through the rows one by one.
struct PagedWork {
  Tensor decode;    // [most, kDecodeWidth] i32
  Tensor prefill;   // [most, kPrefillWidth] i32
  Tensor counts;    // [2] i32: entries of each
  Tensor partials;  // f32 of paged_partials() elements: sums of chunks
  Tensor arrivals;  // [sequences * num_kv_heads] i32, zeros between calls
  // Upper bounds, known on the host: 0 leaves the kernel out. In a captured graph `decode` is any number
  // above 0 and `prefill` 0.
  PagedCounts launched;
  std::int64_t max_chunks = 0;  // of a sequence
  bool empty() const { return decode.empty(); }
};
std::int64_t paged_partials(std::int64_t sequences, std::int64_t max_model_len, const QkvShape& shape);
constexpr std::int64_t chunks_of(std::int64_t keys) {
  return (keys + kPagedChunk - 1) / kPagedChunk;
}

}  // namespace rlcpp::ops
