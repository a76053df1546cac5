#include "env/tags.h"

#include <cstddef>

#include "env/unicode.h"

namespace rlcpp::env {

std::optional<std::string_view> tag_content(std::string_view text, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">";
  const std::string close = "</" + std::string(tag) + ">";
  const std::size_t begin = text.find(open);
  if (begin == std::string_view::npos) return std::nullopt;
  // If the first opening tag is not closed after it, no later one is.
  const std::size_t content = begin + open.size();
  const std::size_t end = text.find(close, content);
  if (end == std::string_view::npos) return std::nullopt;
  return strip(text.substr(content, end - content));
}

std::vector<std::string_view> tag_contents(std::string_view text, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">";
  const std::string close = "</" + std::string(tag) + ">";
  std::vector<std::string_view> out;
  std::size_t begin = text.find(open);
  while (begin != std::string_view::npos) {
    const std::size_t content = begin + open.size();
    const std::size_t end = text.find(close, content);
    if (end == std::string_view::npos) break;  // no later one is closed either
    out.push_back(text.substr(content, end - content));
    begin = text.find(open, end + close.size());
  }
  return out;
}

std::optional<std::string_view> last_boxed(std::string_view text) {
  constexpr std::string_view kOpen = "\\boxed{";
  const std::size_t begin = text.rfind(kOpen);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::size_t content = begin + kOpen.size();
  int depth = 1;
  for (std::size_t i = content; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return strip(text.substr(content, i - content));
  }
  return std::nullopt;
}

std::optional<std::string_view> last_integer(std::string_view text) {
  const std::size_t last = text.find_last_of("0123456789");
  if (last == std::string_view::npos) return std::nullopt;
  std::size_t first = last;
  while (first > 0 && text[first - 1] >= '0' && text[first - 1] <= '9') --first;
  if (first > 0 && text[first - 1] == '-') --first;
  return text.substr(first, last + 1 - first);
}

}  // namespace rlcpp::env
