// What was found wrong with a JSON file, in words for people: those of the library begin with the name of an
// exception.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace rlcpp {

// "it stops being JSON at line 3, column 7 (byte 52)", "it has no key 'step'", "a value has another type: it
// must be number, but is string". Other exceptions than the library's are of numbers that are none. `text`:
// what was parsed, for the place.
std::string json_problem(const std::exception& problem, std::string_view text = {});

}  // namespace rlcpp
