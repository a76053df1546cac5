#include "rollout/stop_matcher.h"

#include <algorithm>

namespace rlcpp::rollout {

bool StopMatcher::feed(std::string_view bytes, std::span<const std::string> strings) {
  const std::size_t old = tail_.size();
  tail_.append(bytes);
  bool found = false;
  std::size_t keep = 0;
  for (const std::string& text : strings) {
    keep = std::max(keep, text.size() - 1);
    // An occurrence that ends within the new bytes starts after this place.
    const std::size_t from = old + 1 > text.size() ? old + 1 - text.size() : 0;
    found = found || tail_.find(text, from) != std::string::npos;
  }
  if (tail_.size() > keep) tail_.erase(0, tail_.size() - keep);
  return found;
}

}  // namespace rlcpp::rollout
