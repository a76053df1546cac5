// Forwards of a trainer that train nothing: a loss, log-probabilities, and how long one takes.
#include "ops/head.h"
#include "ops/stopwatch.h"
#include "train/exchange.h"
#include "train/row_loss.h"
#include "train/trainer_impl.h"

namespace rlcpp::train {

double Trainer::evaluate(const std::vector<data::MicroBatch>& batches) {
  Impl& m = *impl_;
  double sum = 0;
  std::int64_t count = 0;
  const RankShare mine = share_of(batches, m.options.sharding);
  for (const data::MicroBatch* batch : mine.batches) {
    if (m.communicator != nullptr) m.communicator->note("validation");
    const Row row = m.rows.load(*batch, Targets::kTrained);
    ops::head_logprobs(m.ctx, row.logprobs, Tensor(), m.head_inputs(row, m.forward(row)));
    m.rows.fetch(row);
    const auto logprobs = m.rows.logprobs(row);
    for (std::size_t t = 0; t < logprobs.size(); ++t) {
      if (row.host_targets[t] < 0) continue;
      sum -= static_cast<double>(logprobs[t]);
      ++count;
    }
  }
  if (m.communicator != nullptr) {
    const std::vector<double> part = {sum, static_cast<double>(count)};
    sum = 0;
    count = 0;
    for (const std::vector<double>& numbers : exchange(*m.communicator, m.staging, part, "validation loss")) {
      sum += numbers.at(0);
      count += static_cast<std::int64_t>(numbers.at(1));
    }
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

std::vector<float> Trainer::logprobs(const data::MicroBatch& batch) {
  Impl& m = *impl_;
  if (m.communicator != nullptr) m.communicator->note("log-probabilities");
  const Row row = m.rows.load(batch, Targets::kAll);
  ops::head_logprobs(m.ctx, row.logprobs, Tensor(), m.head_inputs(row, m.forward(row)));
  m.rows.fetch(row);
  std::vector<float> out(batch.ids.size());
  rows_to_tokens(batch, m.rows.logprobs(row), out);
  return out;
}

// No result is fetched, so the device waits for nobody but for the first row's way to it.
double Trainer::forward_seconds(const std::vector<data::MicroBatch>& batches) {
  Impl& m = *impl_;
  const RankShare mine = share_of(batches, m.options.sharding);
  if (m.communicator != nullptr) m.communicator->note("a forward that is timed");
  ops::Stopwatch watch(m.ctx);
  watch.start();
  for (std::size_t i = 0; i < mine.batches.size(); ++i) {
    m.micro_batch = mine.first + i;
    const Row row = m.rows.load(*mine.batches[i], Targets::kTrained);
    const Tensor hidden = m.forward(row, true);
    const bool twice = !m.gradients.head.empty();  // a frozen head is visited once
    ops::head_logprobs(m.ctx, row.logprobs, row.entropies, m.head_inputs(row, hidden, twice));
  }
  return watch.stop();
}

}  // namespace rlcpp::train
