#include "ops/paged_work.h"

#include <algorithm>

#include "base/error.h"

namespace rlcpp::ops {
namespace {

std::int32_t group_of(const QkvShape& shape) {
  return static_cast<std::int32_t>(shape.num_heads / shape.num_kv_heads);
}

std::int32_t keys_of(const PagedSequence& s) {
  return s.start + s.count;
}

std::span<const std::int32_t> pages_of_chunk(const PagedSequence& s, std::int32_t chunk,
                                             std::int64_t page_size) {
  const std::int64_t begin = std::int64_t{chunk} * kPagedChunk / page_size;
  const std::int64_t end = (std::int64_t{chunk + 1} * kPagedChunk + page_size - 1) / page_size;
  return s.pages.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

}  // namespace

bool paged_work_fits(const QkvShape& shape, std::int64_t page_size) {
  return (shape.head_dim == 64 || shape.head_dim == 128) &&
         shape.num_heads / shape.num_kv_heads <= DecodeEntry::kMost && page_size % kPagedBlock == 0;
}

PagedCounts most_paged_work(std::int64_t sequences, std::int64_t tokens, std::int64_t max_model_len,
                            const QkvShape& shape) {
  const std::int64_t a_tile = kPrefillRows / group_of(shape);
  return {sequences * chunks_of(max_model_len), tokens / a_tile + std::min(sequences, tokens)};
}

PagedCounts fill_paged_work(std::span<const PagedSequence> sequences, std::int64_t page_size,
                            const QkvShape& shape, bool share, std::span<DecodeEntry> decode,
                            std::span<PrefillEntry> prefill) {
  const std::int32_t together = share ? DecodeEntry::kMost / group_of(shape) : 1;
  const std::int32_t a_tile = kPrefillRows / group_of(shape);
  PagedCounts counts;
  std::int32_t most_chunks = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const PagedSequence& s = sequences[i];
    if (s.count == 1) {
      most_chunks = std::max(most_chunks, static_cast<std::int32_t>(chunks_of(keys_of(s))));
      continue;
    }
    for (std::int32_t done = 0; done < s.count; done += a_tile) {
      RLCPP_CHECK(static_cast<std::size_t>(counts.prefill) < prefill.size());
      prefill[static_cast<std::size_t>(counts.prefill++)] = {
          static_cast<std::int32_t>(i), s.row + done, s.start + done, std::min(a_tile, s.count - done)};
    }
  }
  const auto add = [&](std::size_t i, std::int32_t chunk, std::int32_t keys) -> DecodeEntry& {
    RLCPP_CHECK(static_cast<std::size_t>(counts.decode) < decode.size());
    DecodeEntry& entry = decode[static_cast<std::size_t>(counts.decode++)];
    entry = {static_cast<std::int32_t>(i), chunk, keys, 1, {sequences[i].row}};
    return entry;
  };
  // Full chunks first: they take longest, and what is short fills the gaps at the end.
  for (std::int32_t chunk = 0; chunk < most_chunks; ++chunk) {
    DecodeEntry* open = nullptr;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const PagedSequence& s = sequences[i];
      if (s.count != 1 || keys_of(s) < (chunk + 1) * kPagedChunk) continue;
      const bool joins = open != nullptr && open->count < together &&
                         std::ranges::equal(pages_of_chunk(s, chunk, page_size),
                                            pages_of_chunk(sequences[static_cast<std::size_t>(open->table)],
                                                           chunk, page_size));
      if (joins) {
        open->row[open->count++] = s.row;
      } else {
        open = &add(i, chunk, kPagedChunk);
      }
    }
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::int32_t rest = keys_of(sequences[i]) % kPagedChunk;
    if (sequences[i].count == 1 && rest > 0) add(i, keys_of(sequences[i]) / kPagedChunk, rest);
  }
  return counts;
}

std::int64_t paged_partials(std::int64_t sequences, std::int64_t max_model_len, const QkvShape& shape) {
  return sequences * chunks_of(max_model_len) * shape.num_heads * (shape.head_dim + 2);
}

}  // namespace rlcpp::ops
