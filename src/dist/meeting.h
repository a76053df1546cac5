// What the processes of a run tell each other when they meet: with what each was started. Those that were
// started differently would train something that nobody asked for, so they do not begin.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dist/roll.h"

namespace rlcpp::dist {

// One thing that all processes must have been given alike: a dotted key, "optim.lr", and its value as text.
struct Term {
  std::string key, value;
};
using Terms = std::vector<Term>;

struct Meeting {
  Terms terms;
  // Told of by process 0 alone: that it now waits for the others; a process of another run that came to its
  // address and was turned away. May be empty.
  std::function<void(const std::string&)> inform, warn;
};

struct Party {
  int process = 0;
  std::string place;  // "node-b, pid 412"
  Terms terms;
};

// The first key that differs, with the values and who has which; the other keys that do, by name. Keys count
// in the order of the first party that has them. nullopt: all agree. A value "None" against keys below it is
// a section that is absent here and there not.
std::optional<Fault> difference(const std::vector<Party>& parties);

// "run \"NAME\"", "a run without dist.run_id".
std::string name_of_run(std::string_view run_id);

}  // namespace rlcpp::dist
