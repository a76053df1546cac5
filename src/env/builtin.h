// The built-in environments. A new one: its own file with a factory, one line here, one in registry.cpp, one
// test.
#pragma once

#include <memory>
#include <string>

#include "env/arguments.h"
#include "env/environment.h"

namespace rlcpp::env {

std::unique_ptr<Environment> make_reverse_text(const std::string& name, Arguments& arguments);
std::unique_ptr<Environment> make_arithmetic(const std::string& name, Arguments& arguments);
std::unique_ptr<Environment> make_alphabet_sort(const std::string& name, Arguments& arguments);

}  // namespace rlcpp::env
