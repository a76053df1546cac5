// Where samples come from: an endless stream indexed by position, the same for every reader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/render.h"

namespace rlcpp::data {

// Position p of the stream is row order(epoch)[p % rows] of epoch p / rows. A pure function of p: resuming
// needs p alone.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  // The samples of one position: one, or several where rendering splits a conversation. Never empty.
  virtual std::vector<Sample> at(std::int64_t position) = 0;
  virtual std::int64_t rows() const = 0;  // of an epoch; 0: the stream has no epochs
  // Identifies the data: a cursor saved with another one is refused.
  virtual std::string fingerprint() const = 0;
};

// Rows of a data set, rendered when they are reached and kept (up to `cache_bytes` of samples), in an order
// that depends on seed and epoch alone. Thread-compatible: one reader at a time.
class SftSource : public SampleSource {
 public:
  SftSource(Dataset dataset, Renderer renderer, bool shuffle, std::uint64_t seed,
            std::size_t cache_bytes = std::size_t{256} << 20);
  std::vector<Sample> at(std::int64_t position) override;
  std::int64_t rows() const override { return dataset_.size(); }
  std::string fingerprint() const override;

  std::vector<Sample> row(std::int64_t index);
  // Renders rows until `text_bytes` of the data set have been read: wrong rows are found before the training
  // begins. Returns the number of rows checked.
  // `on_row` (may be empty) is told how many are done.
  std::int64_t check(std::size_t text_bytes, const std::function<void(std::int64_t)>& on_row = {});
  const Dataset& dataset() const { return dataset_; }
  const Renderer& renderer() const { return renderer_; }
  std::int64_t split_rows() const { return split_rows_; }  // rows that gave more than one sample, so far
  std::int64_t unaligned_turns() const { return unaligned_turns_; }  // see Rendered
  // Rows of which bytes were left out so far, and the place of the first.
  std::int64_t lossy_rows() const { return lossy_rows_; }
  const std::string& first_lossy_row() const { return first_lossy_row_; }

 private:
  Rendered render(std::int64_t index) const;  // throws bad_input beginning with the row's place

  Dataset dataset_;
  Renderer renderer_;
  bool shuffle_;
  std::uint64_t seed_;
  std::size_t cache_left_;
  std::vector<std::vector<Sample>> cache_;  // by row; empty: not rendered, or no room
  std::int64_t order_epoch_ = -1;
  std::vector<std::int64_t> order_;
  std::int64_t split_rows_ = 0, unaligned_turns_ = 0, lossy_rows_ = 0;
  std::string first_lossy_row_;
};

// Made-up samples with every token but the first trained.
struct FakeOptions {
  std::int64_t vocab_size = 0;
  std::int64_t seq_len = 0;
  bool variable_length = false;  // uniform in [2, seq_len]; else seq_len
  bool random_ids = false;       // uniform over the vocabulary; else the position, modulo the vocabulary
  std::uint64_t seed = 0;
};

class FakeSource : public SampleSource {
 public:
  explicit FakeSource(const FakeOptions& options);
  std::vector<Sample> at(std::int64_t position) override;
  std::int64_t rows() const override { return 0; }
  std::string fingerprint() const override;

 private:
  FakeOptions options_;
};

}  // namespace rlcpp::data
