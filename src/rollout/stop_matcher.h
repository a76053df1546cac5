// Finds stop strings in the bytes of a growing output, across the boundaries of tokens.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace rlcpp::rollout {

// One a sequence. Keeps only the bytes that the next token could still complete.
class StopMatcher {
 public:
  // Adds the bytes of the next token. True if one of `strings` (none empty; the same at each call) ends
  // within them.
  bool feed(std::string_view bytes, std::span<const std::string> strings);

 private:
  std::string tail_;
};

}  // namespace rlcpp::rollout
