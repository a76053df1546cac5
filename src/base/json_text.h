// Reading JSON that others wrote. The library parses any depth, but copying and printing what came of it
// recurses: deeper than a thousand brackets, nobody's data and anybody's crash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

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

// As Json::parse(): throws the library's parse_error, also for what is nested deeper than kDeepestJson.
template <typename Json = nlohmann::json>
Json parse_json_or_throw(std::string_view text) {
  if (const int depth = json_nesting(text); depth > kDeepestJson) {
    throw Json::parse_error::create(101, std::size_t{0},
                                    "it is nested " + std::to_string(depth) + " levels deep, " +
                                        std::to_string(kDeepestJson) + " are the limit",
                                    nullptr);
  }
  return Json::parse(text);
}

// For a line of a file; throws bad_input that begins with `where` ("FILE:12") and says what is
// wrong.
template <typename Json = nlohmann::json>
Json parse_json_line(std::string_view line, const std::string& where);

// The value of a whole number that T holds. The library itself would round 4.5, and what T does not hold it
// converts to anything; this throws its type_error, as it does for text.
template <typename T, typename Json>
T whole_number(const Json& number) {
  const bool negative = number.is_number_integer() && !number.is_number_unsigned();
  if (!number.is_number_integer() || (negative && !std::in_range<T>(number.template get<std::int64_t>())) ||
      (!negative && !std::in_range<T>(number.template get<std::uint64_t>()))) {
    throw Json::type_error::create(302, "a number is no whole one, or too large", &number);
  }
  return number.template get<T>();
}

extern template nlohmann::json parse_json_line(std::string_view, const std::string&);
extern template nlohmann::ordered_json parse_json_line(std::string_view, const std::string&);

}  // namespace rlcpp
