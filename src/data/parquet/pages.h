// A column of a group of rows: its pages unpacked and decoded.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "data/parquet/metadata.h"

namespace rlcpp::data::parquet {

// Entry i has the levels definition[i] and repetition[i] (empty vectors: all 0); it has a value where the
// definition is the node's largest. Values lie in order in the vector of their kind.
struct Column {
  std::vector<std::uint8_t> definition, repetition;
  std::int64_t entries = 0;
  std::vector<std::int64_t> integers;   // boolean, int32, int64
  std::vector<double> numbers;          // float, double
  std::vector<std::string_view> texts;  // byte arrays, fixed ones, int96; into `pages` or the file
  std::deque<std::string> pages;        // unpacked
};

// `file`: all bytes; it must outlive the column. Throws bad_input naming `where` for damage and for what is
// not supported, environment_error where a library is missing.
Column read_column(std::string_view file, const ColumnChunk& chunk, const Node& leaf,
                   const std::string& where);

}  // namespace rlcpp::data::parquet
