#include "train/exchange.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "tensor/copy.h"

namespace rlcpp::train {
namespace {

using Values = std::vector<double> LossMetrics::*;
constexpr std::array<Values, 17> kValues = {&LossMetrics::document_loss,
                                            &LossMetrics::entropy,
                                            &LossMetrics::trainer_probs,
                                            &LossMetrics::inference_probs,
                                            &LossMetrics::mismatch_kl,
                                            &LossMetrics::masked_mismatch_kl,
                                            &LossMetrics::unmasked_mismatch_kl,
                                            &LossMetrics::is_masked,
                                            &LossMetrics::is_masked_low,
                                            &LossMetrics::is_masked_high,
                                            &LossMetrics::sequence_masked_low,
                                            &LossMetrics::sequence_masked_high,
                                            &LossMetrics::geo_masked_low,
                                            &LossMetrics::geo_masked_high,
                                            &LossMetrics::geo_seq_ratio,
                                            &LossMetrics::teacher_kl,
                                            &LossMetrics::nll};
constexpr std::size_t kFirstValues = 512;  // of the first round

// A field more would be lost between ranks without a word.
static_assert(sizeof(LossMetrics) == (kValues.size()) * sizeof(std::vector<double>) + 2 * sizeof(double) +
                                         sizeof(std::optional<Mismatch>) + sizeof(std::int64_t));

}  // namespace

RegionId plan_exchange(MemoryPlan& plan, int ranks) {
  return plan.add(MemoryUse::kCommunication, "what ranks tell each other", DType::kF64,
                  {ranks, kExchangeValues});
}

std::vector<std::vector<double>> exchange(dist::Communicator& communicator, const Tensor& staging,
                                          const std::vector<double>& mine, std::string_view name) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  std::vector<std::vector<double>> out(ranks);
  std::vector<double> part, all;
  // `width` values of every rank arrive in `all`.
  const auto gather = [&] {
    const auto width = static_cast<std::int64_t>(part.size());
    const Tensor round = staging.view({staging.size()})
                             .rows(0, communicator.size() * width)
                             .view({communicator.size(), width});
    const Tensor own = round.rows(communicator.rank(), 1);
    all.resize(ranks * part.size());
    copy(own, host_view(std::span(part), DType::kF64));
    communicator.all_gather(round, own, name).wait();
    copy(host_view(std::span(all), DType::kF64), round);
  };
  const auto fill_from = [&](std::size_t begin, std::size_t to) {
    const std::size_t from = std::min(begin, mine.size());
    std::copy_n(mine.begin() + static_cast<std::ptrdiff_t>(from),
                std::min(part.size() - to, mine.size() - from),
                part.begin() + static_cast<std::ptrdiff_t>(to));
  };
  // First how many each has, and the first of them: a gradient's norm is done then. After that all know how
  // much is left to send.
  part.assign(kFirstValues, 0.0);
  part[0] = static_cast<double>(mine.size());
  fill_from(0, 1);
  gather();
  std::vector<std::size_t> sizes;
  for (std::size_t r = 0; r < ranks; ++r) {
    const double* const received = all.data() + r * part.size();
    sizes.push_back(static_cast<std::size_t>(received[0]));
    out[r].assign(received + 1, received + 1 + std::min(part.size() - 1, sizes[r]));
  }
  const std::size_t most = *std::ranges::max_element(sizes);
  for (std::size_t sent = kFirstValues - 1; sent < most; sent += part.size()) {
    part.assign(std::min(static_cast<std::size_t>(kExchangeValues), most - sent), 0.0);
    fill_from(sent, 0);
    gather();
    for (std::size_t r = 0; r < ranks; ++r) {
      const double* const received = all.data() + r * part.size();
      out[r].insert(out[r].end(), received, received + std::min(part.size(), sizes[r] - out[r].size()));
    }
  }
  return out;
}

double largest(dist::Communicator& communicator, const Tensor& staging, double mine, std::string_view name) {
  const Tensor place = staging.view({staging.size()}).rows(0, 1);
  copy(place, host_view(std::span(&mine, 1), DType::kF64));
  communicator.all_reduce(place, dist::Reduction::kMax, name).wait();
  double out = 0;
  copy(host_view(std::span(&out, 1), DType::kF64), place);
  return out;
}

std::vector<double> numbers_of(const LossMetrics& metrics) {
  std::vector<double> out = {metrics.loss, metrics.max_abs_mismatch, static_cast<double>(metrics.documents)};
  const Mismatch first = metrics.first_mismatch.value_or(Mismatch());
  for (const double value : {metrics.first_mismatch.has_value() ? 1.0 : 0.0,
                             static_cast<double>(first.document), static_cast<double>(first.token),
                             static_cast<double>(first.trainer), static_cast<double>(first.inference)}) {
    out.push_back(value);
  }
  for (const Values values : kValues) {
    out.push_back(static_cast<double>((metrics.*values).size()));
    out.insert(out.end(), (metrics.*values).begin(), (metrics.*values).end());
  }
  return out;
}

void append(LossMetrics& metrics, const std::vector<double>& numbers) {
  std::size_t at = 0;
  const auto next = [&] { return numbers.at(at++); };
  metrics.loss += next();
  metrics.max_abs_mismatch = std::max(metrics.max_abs_mismatch, next());
  const auto documents = static_cast<std::int64_t>(next());
  const bool mismatch = next() != 0;
  Mismatch first;
  first.document = metrics.documents + static_cast<std::int64_t>(next());
  first.token = static_cast<std::int64_t>(next());
  first.trainer = static_cast<float>(next());
  first.inference = static_cast<float>(next());
  if (mismatch && !metrics.first_mismatch.has_value()) metrics.first_mismatch = first;
  metrics.documents += documents;
  for (const Values values : kValues) {
    const auto count = static_cast<std::ptrdiff_t>(next());
    const auto begin = numbers.begin() + static_cast<std::ptrdiff_t>(at);
    RLCPP_CHECK(numbers.end() - begin >= count);
    (metrics.*values).insert((metrics.*values).end(), begin, begin + count);
    at += static_cast<std::size_t>(count);
  }
  RLCPP_CHECK(at == numbers.size());
}

}  // namespace rlcpp::train
