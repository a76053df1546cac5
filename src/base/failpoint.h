// Fail points: named places where a test or `--fail NAME=ACTION[:WHEN]` makes something go wrong. They cost one relaxed load
// when none is armed. A name must be registered where it is used; arming an unknown name is an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::failpoint {

// Actions: kill (SIGKILL to itself), error (throws Error), hang, delay(ms), nan and flip (the caller asks for them).
// WHEN: the hit on which it acts, from 1; default 1; "*": every hit.
void arm(const std::string& specification);
void disarm_all();
std::vector<std::string> names();

// Runs the armed action for `name`. Returns "" or the name of an action the caller must carry out itself ("nan", "flip").
std::string_view hit(std::string_view name);

}  // namespace rlcpp::failpoint
