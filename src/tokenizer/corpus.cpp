#include "tokenizer/corpus.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::json;

void collect(const Json& value, std::vector<std::string>& out) {
  if (value.is_string()) {
    if (!value.get_ref<const std::string&>().empty()) out.push_back(value.get<std::string>());
  } else if (value.is_array()) {
    for (const Json& item : value) collect(item, out);
  } else if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      if (key != "role" && key != "type" && key != "id" && key != "tool_call_id") collect(item, out);
    }
  }
}

void collect_row(const std::string& line, const std::string& file, std::int64_t number,
                 std::vector<std::string>& out) {
  const Json row = parse_json_line<Json>(line, fmt::format("{}:{}", file, number));
  if (!row.is_object()) {
    throw bad_input(fmt::format("{}:{}: the line is no JSON object", file, number), row.type_name(),
                    "give rows with messages, prompt and completion, or text");
  }
  bool known = false;
  for (const char* column : {"messages", "prompt", "completion", "text"}) {
    const auto found = row.find(column);
    if (found == row.end()) continue;
    known = true;
    collect(*found, out);
  }
  if (!known) {
    throw bad_input(fmt::format(
        "{}:{}: the row has none of the columns messages, prompt, completion and text", file, number));
  }
}

}  // namespace

std::vector<std::string> read_texts(const std::vector<std::string>& files,
                                    const std::function<void(std::int64_t)>& progress) {
  std::vector<std::string> texts;
  std::int64_t bytes = 0;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw bad_input(fmt::format("cannot read {}", file), std::strerror(errno));
    const bool rows = file.ends_with(".jsonl");
    std::int64_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      bytes += static_cast<std::int64_t>(line.size()) + 1;
      if (progress) progress(bytes);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (rows) {
        collect_row(line, file, number, texts);
      } else if (!is_valid_utf8(line)) {
        // An archive, or letters of another encoding: a tokenizer of U+FFFD would be learned without a word.
        throw bad_input(fmt::format("{}:{}: the line is not UTF-8", file, number), {},
                        "give text as UTF-8, or JSONL rows in a file whose name ends in .jsonl");
      } else {
        texts.push_back(line + "\n");
      }
    }
    if (in.bad()) throw environment_error(fmt::format("reading {} failed", file), std::strerror(errno));
  }
  return texts;
}

}  // namespace rlcpp::tokenizer
