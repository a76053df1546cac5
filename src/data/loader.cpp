#include "data/loader.h"

#include <algorithm>

namespace rlcpp::data {

BatchLoader::BatchLoader(std::shared_ptr<SampleSource> source, const LoaderOptions& options)
    : source_(std::move(source)), options_(options), packer_(*source_, options.seq_len, options.look_ahead) {}

BatchLoader::~BatchLoader() {
  settle();
}

void BatchLoader::settle() {
  if (ahead_.valid()) ahead_.wait();
}

StepBatch BatchLoader::prepare() {
  std::vector<std::vector<Sample>> rows;
  for (std::int64_t i = 0; i < options_.batch_size; ++i) rows.push_back(packer_.next_row());
  StepBatch batch;
  batch.micro_batches = make_micro_batches(rows, options_.micro_batch_size);
  batch.statistics = packer_.statistics();
  batch.epoch = static_cast<double>(packer_.position()) / static_cast<double>(source_->rows());
  batch.padding = packer_.padding();
  batch.cursor = packer_.state();
  return batch;
}

StepBatch BatchLoader::next() {
  StepBatch batch = ahead_.valid() ? ahead_.get() : prepare();
  // The packer belongs to the thread until its batch is taken.
  ahead_ = std::async(std::launch::async, [this] { return prepare(); });
  return batch;
}

void BatchLoader::restore(const std::string& cursor) {
  settle();
  ahead_ = {};
  packer_.restore(cursor);
}

std::vector<MicroBatch> one_pass(SampleSource& source, std::int64_t seq_len, std::int64_t micro_batch_size,
                                 std::int64_t rows) {
  Packer packer(source, seq_len);
  const std::int64_t end = rows > 0 ? std::min(rows, source.rows()) : source.rows();
  std::vector<std::vector<Sample>> packed;
  while (auto row = packer.next_row_until(end)) packed.push_back(std::move(*row));
  return make_micro_batches(packed, micro_batch_size);
}

}  // namespace rlcpp::data
