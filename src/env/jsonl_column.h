// One text column of a JSONL file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::env {

struct JsonlColumn {
  std::vector<std::string> values;
  std::vector<std::int64_t> lines;  // of each value, counted from 1
};

// The value of `column` in every row, in order; blank lines are skipped. Throws bad_input with path and line
// number for malformed JSON, a missing column, a value that is not a string, and a file without rows.
JsonlColumn read_jsonl_column(const std::string& path, const std::string& column);

}  // namespace rlcpp::env
