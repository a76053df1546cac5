// One text column of a JSONL file.
#pragma once

#include <string>
#include <vector>

namespace rlcpp::env {

// The value of `column` in every row, in order; blank lines are skipped. Throws bad_input with path and line
// number for malformed JSON, a missing column, a value that is not a string, and a file without rows.
std::vector<std::string> read_jsonl_column(const std::string& path, const std::string& column);

}  // namespace rlcpp::env
