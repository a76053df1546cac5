// What becomes of requests that have begun when the weights they read change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rlcpp::rollout {

// A request has begun once one of its sequences has run. What has not begun starts under the new weights in
// every case, and is never given a page that older ones computed.
enum class WeightChange : std::uint8_t {
  // Running sequences go on from their pages: later tokens are drawn by the new weights over keys and values
  // of the old ones, which no single forward computes.
  kKeep,
  // Running sequences keep their tokens and compute them again; later tokens are those of the new weights.
  kRecompute,
  // What has begun is finished by the old weights; until then nothing begins, and the weights stay.
  kDrain,
  // What has begun ends with kAborted and what it has.
  kAbort
};
std::string_view name_of(WeightChange change);  // "keep", "recompute", "drain", "abort"
// Throws bad_input, naming `key`, for any other name.
WeightChange weight_change_of(const std::string& name, const std::string& key);

}  // namespace rlcpp::rollout
