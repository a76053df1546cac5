// Rows of seq_len tokens from samples. Packing `cat`: whole samples one after the other in rows of seq_len
// tokens. A sample that does not fit waits for the next row; a short look-ahead over waiting samples fills
// the gap it leaves. It ends with the epoch: no sample is packed again before every sample of its epoch has
// been.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/source.h"

namespace rlcpp::data {

// Which of the waiting lengths make the next row: always the first (nothing waits for ever), and of the
// others the subset whose sum comes nearest to `capacity` (exact, by dynamic programming over sums). Indices
// ascending. Every length is in [1, capacity].
std::vector<std::size_t> choose_row(std::span<const std::int64_t> lengths, std::int64_t capacity);

// Packing `stack`: the waiting samples of one row are of like length, for those who want batches as padded
// ones are made (prime-rl trainer/sft/data.py, January 2026), without the padding: a row carries its lengths.
// Buckets are of `capacity` tokens, half of that, and so on while 256 divides them; a sample is in the
// smallest that holds it. The row is the first bucket whose samples, each counted with the bucket's length,
// fill `capacity`. If none does, it is the bucket of the first sample, moved up into longer ones as long as
// those are not filled by it. Indices ascending. `capacity` is a multiple of 256, every length in [1,
// capacity].
std::vector<std::size_t> choose_stack(std::span<const std::int64_t> lengths, std::int64_t capacity);

enum class PackFunction : std::uint8_t { kCat, kStack };

// What has gone through a packer since the start of the run.
struct PackStatistics {
  std::int64_t rows = 0;
  std::int64_t samples = 0;  // packed
  std::int64_t tokens = 0;   // packed
  std::int64_t cut = 0;      // samples longer than a row: their end was left out
  std::int64_t skipped = 0;  // samples whose trained tokens all lie behind the cut
};

// Reads a source in order and gives rows. Copyable state: position of the reader and what waits, by
// reference, so that a checkpoint stays small and a restored packer continues with the same rows.
class Packer {
 public:
  // `look_ahead`: samples that wait at most.
  Packer(SampleSource& source, std::int64_t seq_len, std::size_t look_ahead = 64,
         PackFunction function = PackFunction::kCat);

  // The samples of the next row, at most seq_len tokens.
  std::vector<Sample> next_row();
  // The same until `end` (a position) is used up: nullopt then. For one pass over a validation set.
  std::optional<std::vector<Sample>> next_row_until(std::int64_t end);

  const PackStatistics& statistics() const { return statistics_; }
  double epoch() const;    // positions whose samples are all packed, in epochs; 0 if the source has none
  double padding() const;  // share of row positions that no token fills

  std::string state() const;               // JSON
  void restore(const std::string& state);  // throws bad_input if it belongs to other data

 private:
  struct Waiting {
    std::int64_t position, part;
    Sample sample;
  };
  std::int64_t epoch_of(std::int64_t position) const;
  std::int64_t fill_row(std::vector<Sample>& row, std::int64_t end);
  std::int64_t fill_stack(std::vector<Sample>& row, std::int64_t end);
  std::vector<std::int64_t> waiting_lengths() const;
  void take(const std::vector<std::size_t>& chosen, std::vector<Sample>& row);
  void fill(std::int64_t end);
  void enqueue(std::int64_t position, std::int64_t part, Sample sample, bool count);

  SampleSource& source_;
  std::int64_t seq_len_;
  std::size_t look_ahead_;
  PackFunction function_;
  std::int64_t position_ = 0;  // next to be read
  std::deque<Waiting> waiting_;
  PackStatistics statistics_;
};

// Rows become micro-batches of `rows_each` rows; the documents' lengths are explicit, so a row that is not
// full costs nothing.
std::vector<MicroBatch> make_micro_batches(const std::vector<std::vector<Sample>>& rows,
                                           std::int64_t rows_each);

}  // namespace rlcpp::data
