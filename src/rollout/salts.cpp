#include "rollout/salts.h"

#include "base/error.h"

namespace rlcpp::rollout {

std::uint64_t Salts::hold(std::string_view salt) {
  if (salt.empty()) return kNone;
  auto place = by_name_.find(salt);
  if (place == by_name_.end()) {
    place = by_name_.emplace(std::string(salt), next_).first;
    by_root_.emplace(next_, Salt{place, 0});
    ++next_;
  }
  hold(place->second);
  return place->second;
}

void Salts::hold(std::uint64_t root) {
  if (root != kNone) ++by_root_.at(root).holders;
}

void Salts::release(std::uint64_t root) {
  if (root == kNone) return;
  const auto place = by_root_.find(root);
  RLCPP_CHECK(place != by_root_.end() && place->second.holders > 0);
  if (--place->second.holders > 0) return;
  by_name_.erase(place->second.name);
  by_root_.erase(place);
}

std::int64_t Salts::holders(std::uint64_t root) const {
  const auto place = by_root_.find(root);
  return place == by_root_.end() ? 0 : place->second.holders;
}

}  // namespace rlcpp::rollout
