// Formats of data files → lines of JSON.
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "data/data_files.h"
#include "data/parquet/rows.h"
#include "data/unpack.h"

namespace rlcpp::data {
namespace {

constexpr std::size_t kMostUnpacked = std::size_t{64} << 30;

// An array of rows → a line each; anything else is taken as lines already.
std::string lines_of_json(std::string text, const std::string& path) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || text[first] != '[') return text;
  const auto rows = parse_json<nlohmann::ordered_json>(text);
  if (rows.is_discarded()) throw bad_input(path + " is no valid JSON", {}, "download or write it again");
  std::string lines;
  for (const auto& row : rows) lines += row.dump() + "\n";
  return lines;
}

}  // namespace

std::string read_data_lines(const std::string& path) {
  std::string name = path;
  std::string text = durable::read_file(path);
  if (name.ends_with(".parquet")) return parquet::json_lines(text, path);
  if (name.ends_with(".zst")) {
    text = unpack_zstd(text, path, kMostUnpacked);
    name.resize(name.size() - 4);
  }
  return name.ends_with(".json") ? lines_of_json(std::move(text), path) : text;
}

}  // namespace rlcpp::data
