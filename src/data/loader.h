// Batches of optimizer steps, prepared one ahead of the step by a thread. What the thread does never changes
// the stream: each batch carries the cursor behind it.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "data/packer.h"

namespace rlcpp::data {

struct StepBatch {
  std::vector<MicroBatch> micro_batches;
  PackStatistics statistics;  // since the start of the run, this batch included
  double epoch = 0;           // rows of the data set handed out so far, in epochs
  double padding = 0;         // of the run so far
  std::string cursor;         // state after this batch
  bool stopped = false;       // LoaderOptions::stop ended it: nothing else of it is valid
};

struct LoaderOptions {
  std::int64_t batch_size = 0;        // rows
  std::int64_t micro_batch_size = 1;  // rows
  std::int64_t seq_len = 0;
  std::size_t look_ahead = 64;  // samples
  PackFunction pack = PackFunction::kCat;
  // Looked at between rows, also by the thread that reads ahead: true ends the reading. Empty: never.
  std::function<bool()> stop;

  // The most memory that the batches of two steps take: the one that is trained and the one prepared
  // meanwhile. Counts every stream, and documents of two tokens.
  double bytes() const;
};

class BatchLoader {
 public:
  BatchLoader(std::shared_ptr<SampleSource> source, const LoaderOptions& options);
  ~BatchLoader();

  // The next step's batch. Errors of the data (bad rows) are thrown here. After a batch that says `stopped`
  // only restore() is of use.
  StepBatch next();
  // Continues behind the batch whose cursor this is. Throws bad_input if it belongs to other data.
  void restore(const std::string& cursor);

 private:
  StepBatch prepare();
  void settle();  // ends what is being prepared

  std::shared_ptr<SampleSource> source_;
  LoaderOptions options_;
  Packer packer_;
  std::atomic<bool> settling_ = false;
  std::future<StepBatch> ahead_;
};

// One pass over the first `rows` rows of a source (0: all of an epoch), packed like training rows: a
// validation set.
std::vector<MicroBatch> one_pass(SampleSource& source, std::int64_t seq_len, std::int64_t micro_batch_size,
                                 std::int64_t rows = 0);

}  // namespace rlcpp::data
