#include "rollout/weight_change.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::rollout {

std::string_view name_of(WeightChange change) {
  switch (change) {
    case WeightChange::kKeep:
      return "keep";
    case WeightChange::kRecompute:
      return "recompute";
    case WeightChange::kDrain:
      return "drain";
    case WeightChange::kAbort:
      return "abort";
  }
  return "?";
}

WeightChange weight_change_of(const std::string& name, const std::string& key) {
  for (const WeightChange change :
       {WeightChange::kKeep, WeightChange::kRecompute, WeightChange::kDrain, WeightChange::kAbort}) {
    if (name == name_of(change)) return change;
  }
  throw bad_input(fmt::format("{} is \"{}\"", key, name), "it must be keep, recompute, drain or abort",
                  fmt::format("set {} to one of them", key));
}

}  // namespace rlcpp::rollout
