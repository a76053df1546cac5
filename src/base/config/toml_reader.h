// The only door to toml++: its header is slow to compile, so one file includes it.
#pragma once

#include <string>

#include "base/config/tree.h"

namespace rlcpp::config {

// Reads and parses `path`. `asked_at` is where the path was written, for the error of a file that cannot be
// read. Throws bad_input with file:line:column.
Node read_toml(const std::string& path, const Place& asked_at);

}  // namespace rlcpp::config
