// A Parquet file → lines of JSON, each of them an object.
#include <nlohmann/json.hpp>

#include "data/parquet/rows.h"
#include "fuzz/targets.h"

namespace rlcpp::fuzz {

void parquet(std::string_view bytes) {
  accepted([&] {
    const std::string lines = data::parquet::json_lines(bytes, "fuzz.parquet");
    require(lines.empty() || lines.back() == '\n', "every row is a line");
    const auto first = nlohmann::json::parse(lines.substr(0, lines.find('\n')), nullptr, false);
    require(lines.empty() || first.is_object(), "a row is an object");
  });
}

}  // namespace rlcpp::fuzz
