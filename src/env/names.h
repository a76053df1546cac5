// Common given and family names, for tasks about names. ASCII, one capital each, which is the first letter;
// sorted, each once.
#pragma once

#include <span>
#include <string_view>

namespace rlcpp::env {

std::span<const std::string_view> given_names();
std::span<const std::string_view> family_names();

}  // namespace rlcpp::env
