#include "env/jsonl_column.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>

#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "env/unicode.h"

namespace rlcpp::env {
namespace {

std::string column_names(const nlohmann::json& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.items()) names.push_back(name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string parse_row(std::string_view line, const std::string& column, const std::string& place) {
  const nlohmann::json row = parse_json_line(line, place);
  if (!row.is_object())
    throw bad_input(place + ": the row is not a JSON object", "", "every line must be one JSON object");
  const auto found = row.find(column);
  if (found == row.end()) {
    throw bad_input(fmt::format("{}: no column '{}'", place, column), "the row has " + column_names(row),
                    "add the column, or name another");
  }
  if (!found->is_string()) {
    throw bad_input(fmt::format("{}: column '{}' is not a string", place, column),
                    found->dump().substr(0, 80), "");
  }
  return found->get<std::string>();
}

}  // namespace

JsonlColumn read_jsonl_column(const std::string& path, const std::string& column) {
  const std::string content = durable::read_file(path);
  JsonlColumn out;
  std::string_view rest = content;
  for (std::int64_t line_number = 1; !rest.empty(); ++line_number) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (strip(line).empty()) continue;
    out.values.push_back(parse_row(line, column, fmt::format("{}:{}", path, line_number)));
    out.lines.push_back(line_number);
  }
  if (out.values.empty())
    throw bad_input(path + " holds no rows", "the file has no JSON line", "give a JSONL file with tasks");
  return out;
}

}  // namespace rlcpp::env
