// The little YAML that the cards of data sets are written in: block mappings and lists, lists and mappings in
// brackets on one line, plain and quoted scalars. No anchors, tags, or scalars of several lines.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace rlcpp::data {

// What the reader does not know; `what()` says where.
struct UnknownYaml : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The value of the key `key` in the header of a Markdown file (between lines of "---" at its beginning); null
// if there is none. Scalars are strings. What stands under other keys is not looked at. Throws UnknownYaml.
nlohmann::ordered_json yaml_header_value(std::string_view markdown, std::string_view key);

}  // namespace rlcpp::data
