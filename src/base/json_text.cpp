#include "base/json_text.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "base/error.h"
#include "base/utf8.h"

namespace rlcpp {

int json_nesting(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

template <typename Json>
Json parse_json_line(std::string_view line, const std::string& where) {
  if (const int depth = json_nesting(line); depth > kDeepestJson) {
    throw bad_input(fmt::format("{}: JSON that is nested {} levels deep", where, depth),
                    fmt::format("{} are the limit", kDeepestJson), "mend this row");
  }
  try {
    return Json::parse(line);
  } catch (const nlohmann::json::parse_error& e) {
    const std::string what = fmt::format("{}: malformed JSON at column {}", where, e.byte);
    if (!utf8::is_valid(line))
      throw bad_input(what, "the line is not UTF-8", "write the file as UTF-8, a JSON object a line");
    throw bad_input(what, {}, "every line is one JSON object");
  } catch (const nlohmann::json::exception&) {  // 1e999
    throw bad_input(where + ": a number is beyond what JSON's readers hold", {}, "mend this row");
  }
}

template nlohmann::json parse_json_line(std::string_view, const std::string&);
template nlohmann::ordered_json parse_json_line(std::string_view, const std::string&);

}  // namespace rlcpp
