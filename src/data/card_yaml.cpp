#include "data/card_yaml.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace rlcpp::data {
namespace {

using nlohmann::ordered_json;

constexpr int kDeepestYaml = 32;

struct YamlLine {
  std::size_t indent = 0;
  std::string text;  // without indent, comment and spaces at the end
  int number = 0;
};

[[noreturn]] void refuse(int line, const std::string& why) {
  throw UnknownYaml(fmt::format("line {}: {}", line, why));
}

bool is_item(std::string_view text) {
  return text == "-" || text.starts_with("- ");
}

// Up to " #" outside of quotes.
std::string without_comment(std::string_view text) {
  char quote = 0;
  std::size_t end = text.size();
  for (std::size_t i = 0; i < text.size() && end == text.size(); ++i) {
    if (quote != 0) {
      if (text[i] == '\\' && quote == '"') {
        ++i;
      } else if (text[i] == quote) {
        quote = 0;
      }
    } else if ((text[i] == '"' || text[i] == '\'') &&
               (i == 0 || std::string_view(" [{,").find(text[i - 1]) != std::string_view::npos)) {
      quote = text[i];
    } else if (text[i] == '#' && (i == 0 || text[i - 1] == ' ')) {
      end = i;
    }
  }
  std::string out(text.substr(0, end));
  while (!out.empty() && (out.back() == ' ' || out.back() == '\t' || out.back() == '\r')) out.pop_back();
  return out;
}

// Scalars, and lists and mappings in brackets, of one line.
class Flow {
 public:
  Flow(std::string_view text, int line) : text_(text), line_(line) {}

  ordered_json whole() {
    ordered_json value = next(0, "");
    skip_spaces();
    if (at_ < text_.size()) refuse(line_, "what stands behind the value");
    return value;
  }
  // "key:" at the beginning of a line; false: it begins otherwise.
  bool key(std::string& out) {
    if (text_.empty()) return false;
    if (text_[0] == '"' || text_[0] == '\'') {
      out = quoted();
      if (at_ >= text_.size() || text_[at_] != ':') return false;
      ++at_;
    } else {
      const std::size_t colon = text_.find(": ");
      const std::size_t end = colon != std::string_view::npos ? colon
                              : text_.ends_with(':')          ? text_.size() - 1
                                                              : std::string_view::npos;
      if (end == std::string_view::npos) return false;
      out = text_.substr(0, end);
      at_ = end + 1;
    }
    if (at_ < text_.size() && text_[at_] != ' ') return false;
    skip_spaces();
    return true;
  }
  std::string_view rest() const { return text_.substr(at_); }

 private:
  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    skip_spaces();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string quoted() {
    const char quote = text_[at_++];
    std::string out;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == quote) {
        ++at_;
        if (quote == '"' || at_ >= text_.size() || text_[at_] != quote) return out;
      } else if (c == '\\' && quote == '"') {
        ++at_;
        if (at_ >= text_.size() || (text_[at_] != '"' && text_[at_] != '\\')) refuse(line_, "an escape");
      }
      out.push_back(text_[at_]);
    }
    refuse(line_, "a quoted text that does not end on its line");
  }
  std::string plain(std::string_view ends) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && ends.find(text_[at_]) == std::string_view::npos) ++at_;
    std::string out(text_.substr(begin, at_ - begin));
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
  }
  ordered_json next(int depth, std::string_view ends) {
    if (depth > kDeepestYaml) refuse(line_, "brackets in brackets, too many of them");
    skip_spaces();
    if (at_ >= text_.size()) refuse(line_, "a value that does not end on its line");
    const char first = text_[at_];
    if (first == '"' || first == '\'') return quoted();
    if (first == '[') {
      ++at_;
      ordered_json list = ordered_json::array();
      while (!take(']')) {
        list.push_back(next(depth + 1, ",]"));
        if (!take(',') && (at_ >= text_.size() || text_[at_] != ']')) refuse(line_, "a list without its end");
      }
      return list;
    }
    if (first == '{') {
      ++at_;
      ordered_json mapping = ordered_json::object();
      while (!take('}')) {
        const bool has_quotes = text_.substr(at_).starts_with('"') || text_.substr(at_).starts_with('\'');
        const std::string name = has_quotes ? quoted() : plain(":,}");
        if (!take(':')) refuse(line_, "a mapping without \":\"");
        mapping[name] = next(depth + 1, ",}");
        if (!take(',') && (at_ >= text_.size() || text_[at_] != '}'))
          refuse(line_, "a mapping without its end");
      }
      return mapping;
    }
    if (std::string_view("|>&!%@`").find(first) != std::string_view::npos)
      refuse(line_, fmt::format("a value that begins with \"{}\"", first));
    // "*" would be an alias, but globs are often written without quotes.
    return plain(ends);
  }

  std::string_view text_;
  int line_;
  std::size_t at_ = 0;
};

class Block {
 public:
  explicit Block(std::vector<YamlLine> lines) : lines_(std::move(lines)) {}

  ordered_json whole() {
    if (lines_.empty()) return nullptr;
    ordered_json value = next(0);
    if (at_ < lines_.size()) refuse(lines_[at_].number, "its indentation");
    return value;
  }

 private:
  bool more(std::size_t indent) const { return at_ < lines_.size() && lines_[at_].indent == indent; }
  // What belongs to a key or "-" without a value on its line.
  ordered_json below(std::size_t indent, bool of_key, int depth) {
    if (at_ >= lines_.size()) return nullptr;
    const YamlLine& line = lines_[at_];
    // A list may stand as far left as its key.
    const bool inside = line.indent > indent || (of_key && line.indent == indent && is_item(line.text));
    return inside ? next(depth + 1) : ordered_json(nullptr);
  }
  ordered_json next(int depth) {
    if (depth > kDeepestYaml) refuse(lines_[at_].number, "lists in lists, too many of them");
    const std::size_t indent = lines_[at_].indent;
    return is_item(lines_[at_].text) ? list(indent, depth) : mapping(indent, depth);
  }
  ordered_json list(std::size_t indent, int depth) {
    ordered_json out = ordered_json::array();
    while (more(indent) && is_item(lines_[at_].text)) {
      YamlLine& line = lines_[at_];
      std::size_t begin = 1;
      while (begin < line.text.size() && line.text[begin] == ' ') ++begin;
      const std::string rest = line.text.substr(begin);
      std::string key;
      if (rest.empty()) {
        ++at_;
        out.push_back(below(indent, false, depth));
      } else if (is_item(rest) || (rest[0] != '[' && rest[0] != '{' && Flow(rest, line.number).key(key))) {
        line.indent += begin;
        line.text = rest;
        out.push_back(next(depth + 1));
      } else {
        out.push_back(Flow(rest, line.number).whole());
        ++at_;
      }
    }
    return out;
  }
  ordered_json mapping(std::size_t indent, int depth) {
    ordered_json out = ordered_json::object();
    while (more(indent) && !is_item(lines_[at_].text)) {
      const YamlLine line = lines_[at_];
      Flow flow(line.text, line.number);
      std::string key;
      if (!flow.key(key)) refuse(line.number, "a line without \"key:\"");
      ++at_;
      out[key] = flow.rest().empty() ? below(indent, true, depth) : Flow(flow.rest(), line.number).whole();
    }
    return out;
  }

  std::vector<YamlLine> lines_;
  std::size_t at_ = 0;
};

}  // namespace

nlohmann::ordered_json yaml_header_value(std::string_view markdown, std::string_view key) {
  if (markdown.starts_with("\xef\xbb\xbf")) markdown.remove_prefix(3);
  std::vector<YamlLine> lines;
  int number = 0;
  bool inside = false;
  while (!markdown.empty()) {
    const std::size_t end = std::min(markdown.find('\n'), markdown.size());
    const std::string text = without_comment(markdown.substr(0, end));
    markdown.remove_prefix(std::min(end + 1, markdown.size()));
    ++number;
    if (number == 1 && text != "---") return nullptr;
    if (number == 1) continue;
    if (text == "---") return Block(std::move(lines)).whole();
    const std::size_t indent = std::min(text.find_first_not_of(' '), text.size());
    if (indent == text.size()) continue;
    if (indent == 0 && !is_item(text)) {
      inside = text.starts_with(key) && text.substr(key.size()).starts_with(':');
      if (!inside) continue;
      std::size_t value = key.size() + 1;
      while (value < text.size() && text[value] == ' ') ++value;
      if (value < text.size()) return Flow(std::string_view(text).substr(value), number).whole();
      continue;
    }
    if (!inside) continue;
    if (text[indent] == '\t') refuse(number, "a tab");
    lines.push_back({indent, text.substr(indent), number});
  }
  return nullptr;  // the header has no end, so it is none
}

}  // namespace rlcpp::data
