#include "base/config/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <tuple>

#include "base/error.h"
#include "base/log.h"

namespace rlcpp::config {

std::string Place::short_text() const {
  return file == nullptr ? "command line" : fmt::format("{}:{}", printable(file->path), line);
}

std::string Place::long_text() const {
  return file == nullptr ? printable(flag) : fmt::format("{}:{}:{}", printable(file->path), line, column);
}

std::string Place::excerpt() const {
  if (file == nullptr) return {};
  std::string_view rest = file->content;
  for (int i = 1; i < line; ++i) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
  std::string_view text = rest.substr(0, rest.find('\n'));
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  // One screen is enough for one line of a file: long lines are cut, and a caret beyond the cut is left out.
  constexpr std::size_t kWidth = 96;
  const bool cut = text.size() > kWidth;
  std::string out =
      fmt::format("\n  {:>5} | {}{}", line, printable(text.substr(0, kWidth)), cut ? " ..." : "");
  if (column >= 1 && static_cast<std::size_t>(column) <= std::min(text.size(), kWidth) + 1) {
    std::string blank;
    for (const char c : text.substr(0, static_cast<std::size_t>(column) - 1)) {
      if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) blank += c == '\t' ? '\t' : ' ';
    }
    out += fmt::format("\n        | {}^", blank);
  }
  return out;
}

std::string kind_name(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kBool:
      return node.boolean ? "true" : "false";
    case Node::Kind::kInt:
      return fmt::format("the integer {}", node.integer);
    case Node::Kind::kFloat:
      return fmt::format("the number {}", node.real);
    case Node::Kind::kString:
      return fmt::format("the string \"{}{}\"", printable(node.text.substr(0, 60)),
                         node.text.size() > 60 ? "..." : "");
    case Node::Kind::kDate:
      return "the date " + node.text;
    case Node::Kind::kTable:
      return "a table";
    case Node::Kind::kArray:
      return "a list";
  }
  return "a value";
}

void throw_problems(std::vector<Problem> problems) {
  if (problems.empty()) return;
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tuple(a.place.line, a.place.column) < std::tuple(b.place.line, b.place.column);
  });
  const Problem& first = problems.front();
  std::string help = first.help;
  constexpr std::size_t kShown = 8;
  for (std::size_t i = 1; i < problems.size() && i <= kShown; ++i) {
    const Problem& p = problems[i];
    help += fmt::format("{}also {}: {}{}{}", help.empty() ? "" : "\n  ", p.place.long_text(), p.what,
                        p.because.empty() ? "" : ", " + p.because, p.help.empty() ? "" : "; " + p.help);
  }
  if (problems.size() > kShown + 1) help += fmt::format("\n  and {} more", problems.size() - kShown - 1);
  throw bad_input(first.place.long_text() + ": " + first.what + first.place.excerpt(), first.because, help);
}

}  // namespace rlcpp::config
