#include "train/spoil.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/failpoint.h"
#include "tensor/copy.h"

namespace rlcpp::train {
namespace {

// Each spoils a value (train/spoil.h). train.gradient.parameter is hit for every trained tensor in turn,
// train.audit once an audit, for a log-probability that is computed in another row.
const failpoint::Registration kPoints{"train.hidden",
                                      "train.logprobs",
                                      "train.hidden_gradient",
                                      "train.gradient",
                                      "train.gradient.parameter",
                                      "train.loss",
                                      "train.norm",
                                      "train.audit"};

}  // namespace

double spoiled(std::string_view action, double value) {
  if (action == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (action == "inf") return std::numeric_limits<double>::infinity();
  if (action == "spike") return 1e4 * value;
  if (action == "flip") {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    return static_cast<double>(std::bit_cast<float>(bits ^ 0x40000000U));
  }
  return value;
}

void spoil(std::string_view action, const Tensor& values) {
  if (action.empty() || values.size() == 0) return;
  std::vector<float> all = to_floats(values);
  const std::size_t count = action == "spike" ? all.size() : 1;
  for (std::size_t i = 0; i < count; ++i)
    all[i] = static_cast<float>(spoiled(action, static_cast<double>(all[i])));
  from_floats(values, all);
}

void spoil_trained(const char* point, const Tensor& values, std::span<const std::int32_t> targets) {
  if (!failpoint::any_armed()) return;
  const std::string_view action = failpoint::hit(point);
  const auto first = std::ranges::find_if(targets, [](std::int32_t target) { return target >= 0; });
  if (!action.empty() && first != targets.end()) spoil(action, values.rows(first - targets.begin(), 1));
}

}  // namespace rlcpp::train
