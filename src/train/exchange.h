// Small things that ranks tell each other about a step: losses, counts, the values behind metrics.
#pragma once

#include <string_view>
#include <vector>

#include "dist/communicator.h"
#include "tensor/arena.h"
#include "train/loss/loss.h"

namespace rlcpp::train {

// What passes at once, a rank: 1 MiB, most of what a row of 8192 tokens has for metrics.
constexpr std::int64_t kExchangeValues = 131072;
RegionId plan_exchange(MemoryPlan& plan, int ranks);

// Every rank's values, in the order of the ranks; they may be of different lengths. `staging`: of
// plan_exchange, on the communicator's device. Collective.
std::vector<std::vector<double>> exchange(dist::Communicator& communicator, const Tensor& staging,
                                          const std::vector<double>& mine, std::string_view name);

// The largest of every rank's number. Collective.
double largest(dist::Communicator& communicator, const Tensor& staging, double mine, std::string_view name);

// All of `metrics` as numbers, and back: append() adds those of documents that come after what `metrics` has.
std::vector<double> numbers_of(const LossMetrics& metrics);
void append(LossMetrics& metrics, const std::vector<double>& numbers);

}  // namespace rlcpp::train
