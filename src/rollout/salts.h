// What texts of one salt begin with: a number in place of "no page before", so that their pages are found by
// texts of the same salt alone (vLLM's cache_salt). A page is found only from the page before it, so the
// first one decides for all.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

namespace rlcpp::rollout {

// Salts are compared whole, never by a hash. A salt is remembered while somebody holds its root: a group that
// names it, or a first page in the prefix index. After that it begins anew, under a number that no other
// salt, and no page, ever had. Not thread-safe.
class Salts {
 public:
  // What a text without a salt has before its first page. It needs no holder.
  static constexpr std::uint64_t kNone = 0;

  // The root of `salt`, with one more holder; kNone for an empty one.
  std::uint64_t hold(std::string_view salt);
  void hold(std::uint64_t root);
  void release(std::uint64_t root);

  // Roots of salts have the upper half of all numbers, serials of pages the lower one.
  static constexpr bool is_root(std::uint64_t parent) { return parent == kNone || parent >= kFirst; }
  bool contains(std::uint64_t root) const { return root == kNone || by_root_.contains(root); }
  std::int64_t holders(std::uint64_t root) const;
  std::size_t size() const { return by_root_.size(); }

 private:
  static constexpr std::uint64_t kFirst = std::uint64_t{1} << 63;
  struct Salt {
    std::map<std::string, std::uint64_t, std::less<>>::iterator name;
    std::int64_t holders = 0;
  };
  std::map<std::string, std::uint64_t, std::less<>> by_name_;
  std::unordered_map<std::uint64_t, Salt> by_root_;
  std::uint64_t next_ = kFirst;
};

}  // namespace rlcpp::rollout
