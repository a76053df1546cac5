// The result files of a directory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::bench {

// Paths of its *.json whose names begin so, by name; none if the directory is not there.
std::vector<std::string> json_files(const std::string& directory, std::string_view beginning = {});

}  // namespace rlcpp::bench
