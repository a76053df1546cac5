// Batches of optimizer steps, prepared one ahead of the step by a thread. What the thread does never changes
// the stream: each batch carries the cursor behind it.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "data/packer.h"

namespace rlcpp::data {

struct StepBatch {
  std::vector<MicroBatch> micro_batches;
  PackStatistics statistics;  // since the start of the run, this batch included
  double epoch = 0;           // rows read so far, in epochs
  double padding = 0;         // of the run so far
  std::string cursor;         // state after this batch
};

struct LoaderOptions {
  std::int64_t batch_size = 0;        // rows
  std::int64_t micro_batch_size = 1;  // rows
  std::int64_t seq_len = 0;
  std::size_t look_ahead = 64;  // samples
};

class BatchLoader {
 public:
  BatchLoader(std::shared_ptr<SampleSource> source, const LoaderOptions& options);
  ~BatchLoader();

  // The next step's batch. Errors of the data (bad rows) are thrown here.
  StepBatch next();
  // Continues behind the batch whose cursor this is. Throws bad_input if it belongs to other data.
  void restore(const std::string& cursor);

 private:
  StepBatch prepare();
  void settle();

  std::shared_ptr<SampleSource> source_;
  LoaderOptions options_;
  Packer packer_;
  std::future<StepBatch> ahead_;
};

// One pass over the first `rows` rows of a source (0: all of an epoch), packed like training rows: a
// validation set.
std::vector<MicroBatch> one_pass(SampleSource& source, std::int64_t seq_len, std::int64_t micro_batch_size,
                                 std::int64_t rows = 0);

}  // namespace rlcpp::data
