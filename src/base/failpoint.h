// Fail points: named places where a test or `--fail NAME=ACTION[:WHEN]` makes something go wrong. They cost
// one relaxed load when none is armed. A name must be registered where it is used; arming an unknown name is
// an error.
#pragma once

#include <atomic>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::failpoint {

// Registers names before main() when it is a namespace-scope object of the file that calls hit():
//   const failpoint::Registration kPoints{"checkpoint.before_manifest", "checkpoint.after_manifest"};
class Registration {
 public:
  Registration(std::initializer_list<const char*> names);
};

// Arms NAME=ACTION[:WHEN]. Actions: kill (SIGKILL to itself), error (throws Error), hang (until disarmed),
// delay(ms), nan, inf, spike and flip (the caller asks for them and carries them out). WHEN: the hit after
// arming on which it acts, from 1; default 1; "*": every hit. Throws bad_input for a wrong form, and for an
// unknown name with the list of the known ones.
void arm(const std::string& specification);
void disarm_all();
// All registered names, sorted.
std::vector<std::string> names();

namespace detail {
extern std::atomic<int> armed_count;
std::string_view act(std::string_view name);
}  // namespace detail

inline bool any_armed() {
  return detail::armed_count.load(std::memory_order_relaxed) != 0;
}

// Runs the armed action for `name`. Returns "" or the name of an action the caller must carry out itself
// ("nan", "inf", "spike", "flip").
inline std::string_view hit(std::string_view name) {
  return any_armed() ? detail::act(name) : std::string_view();
}

}  // namespace rlcpp::failpoint
