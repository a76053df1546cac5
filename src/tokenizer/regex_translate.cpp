// Oniguruma -> PCRE2. Both read these patterns alike but for white space: with UCP, PCRE2's \s holds U+180E,
// which is no White_Space since Unicode 6.3. So \s is written out.
#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/regex.h"

namespace rlcpp::tokenizer {
namespace {

constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

}  // namespace

std::string translate_pattern(const std::string& pattern, const std::string& where) {
  const auto unsupported = [&](std::string_view what) {
    return bad_input(
        fmt::format("{}: {} in the regular expression {} is not supported", where, what, pattern));
  };
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (i + 1 >= pattern.size()) throw unsupported("a backslash at the end");
      const char next = pattern[++i];
      if (next == 's') {
        out += in_class ? std::string(kSpaces) : fmt::format("[{}]", kSpaces);
      } else if (next == 'S') {
        if (in_class) throw unsupported("\\S inside brackets");
        out += fmt::format("[^{}]", kSpaces);
      } else if (std::string_view("hHRXKGZgkQEC").find(next) != std::string_view::npos) {
        throw unsupported(fmt::format("\\{}", next));  // another meaning in each engine
      } else {
        out += {c, next};
      }
    } else if (in_class) {
      if (c == '[') throw unsupported("a bracket inside brackets");
      if (c == '&' && pattern.compare(i, 2, "&&") == 0) throw unsupported("&&");
      if (c == ']') in_class = false;
      out.push_back(c);
    } else if (c == '[') {
      in_class = true;
      out.push_back(c);
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out.push_back(pattern[++i]);
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') throw unsupported("a bracket inside brackets");
    } else {
      if (c == '(' && (pattern.compare(i, 3, "(?m") == 0 || pattern.compare(i, 3, "(?x") == 0)) {
        throw unsupported(pattern.substr(i, 3));
      }
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace rlcpp::tokenizer
