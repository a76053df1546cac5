#include "data/loader.h"

#include <algorithm>

namespace rlcpp::data {

double LoaderOptions::bytes() const {
  // ids, positions, mask; of a document: its end, where it came from, and its length in the report of a step.
  const double token = 2 * sizeof(std::int32_t) + sizeof(std::uint8_t);
  const double document = sizeof(std::int32_t) + 2 * sizeof(std::int64_t);
  const double row = static_cast<double>(seq_len) * (token + document / 2) +
                     static_cast<double>(sizeof(MicroBatch)) / static_cast<double>(micro_batch_size);
  return 2 * static_cast<double>(batch_size) * row;
}

BatchLoader::BatchLoader(std::shared_ptr<SampleSource> source, const LoaderOptions& options)
    : source_(std::move(source)),
      options_(options),
      packer_(*source_, options.seq_len, options.look_ahead, options.pack) {}

BatchLoader::~BatchLoader() {
  settle();
}

void BatchLoader::settle() {
  if (!ahead_.valid()) return;
  settling_ = true;
  ahead_.wait();
  settling_ = false;
}

StepBatch BatchLoader::prepare() {
  StepBatch batch;
  for (std::int64_t i = 0; i < options_.batch_size; ++i) {
    if (settling_ || (options_.stop && options_.stop())) {
      batch.stopped = true;
      return batch;
    }
    if (i % options_.micro_batch_size == 0) batch.micro_batches.emplace_back();
    for (const Sample& sample : packer_.next_row()) batch.micro_batches.back().append(sample);
    const bool last = (i + 1) % options_.micro_batch_size == 0;
    if (last) batch.micro_batches.back().shrink_to_fit();
  }
  batch.statistics = packer_.statistics();
  batch.epoch = packer_.epoch();
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
