// JSONL data sets: one conversation a line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/data_files.h"
#include "data/mixing.h"

namespace rlcpp::data {

// One row, ready for a chat template: contents stripped, arguments of tool calls decoded.
struct Conversation {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  // tools, and chat_template_kwargs
  bool plain = false;  // prompt and completion were strings: a tokenizer without a template can join them
  std::string where;   // "train.jsonl:12"
};

// The column `messages`, or `prompt` and `completion` (strings or lists of messages); `tools` or `tool_defs`
// (a list, or its JSON text) and `chat_template_kwargs` (an object) are optional, other columns are ignored.
// Throws bad_input beginning with `where`.
Conversation parse_row(std::string_view line, const std::string& where);

// The files of each pair of `subsets` and `splits` (data/data_files.h) of `name`, which is a file or a
// directory. Throws bad_input that names `key`.
FoundFiles find_files(const std::string& name, const std::vector<std::string>& subsets,
                      const std::vector<std::string>& splits, const std::string& key);

class Dataset {
 public:
  // Of find_files(). Each file is read by read_data_lines(). Several parts are mixed: a row can then be there
  // more than once.
  static Dataset open(const std::string& name, const std::vector<std::string>& splits,
                      const std::string& key = "data.name", const std::vector<std::string>& subsets = {},
                      const Mixing& mixing = {});

  // The same of files that were found already (find_files).
  static Dataset open_files(const std::vector<std::vector<std::string>>& parts, const Mixing& mixing = {});

  std::int64_t size() const { return static_cast<std::int64_t>(lines_.size()); }
  std::string_view line(std::int64_t row) const;
  std::string place(std::int64_t row) const;  // "path/train.jsonl:12"
  Conversation row(std::int64_t row) const { return parse_row(line(row), place(row)); }
  std::size_t bytes() const;
  // CRC32C of all files in order, and of how they are mixed: a checkpoint's cursor belongs to these rows
  // alone.
  std::uint32_t fingerprint() const { return fingerprint_; }

 private:
  struct Line {
    std::size_t file, offset, length, number;
  };
  void read(const std::string& path);

  std::vector<std::string> paths_, texts_;
  std::vector<Line> lines_;
  std::uint32_t fingerprint_ = 0;
};

// Python's str.strip(): white space of Unicode at both ends.
std::string strip(std::string_view text);

}  // namespace rlcpp::data
