// Reading JSON that others wrote. The library parses any depth, but copying and printing what came of it
// recurses: deeper than a thousand brackets, nobody's data and anybody's crash.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace rlcpp {

inline constexpr int kDeepestJson = 256;

// Brackets that are open at once at most, strings apart.
int json_nesting(std::string_view text);

// Discarded (is_discarded()) if it is not JSON, is nested deeper than kDeepestJson or has a number beyond
// what a double holds. Json: nlohmann's json or ordered_json.
template <typename Json = nlohmann::json>
Json parse_json(std::string_view text) {
  return json_nesting(text) > kDeepestJson ? Json(Json::value_t::discarded)
                                           : Json::parse(text, nullptr, false);
}

// The same for a line of a file; throws bad_input that begins with `where` ("FILE:12") and says what is
// wrong.
template <typename Json = nlohmann::json>
Json parse_json_line(std::string_view line, const std::string& where);

extern template nlohmann::json parse_json_line(std::string_view, const std::string&);
extern template nlohmann::ordered_json parse_json_line(std::string_view, const std::string&);

}  // namespace rlcpp
