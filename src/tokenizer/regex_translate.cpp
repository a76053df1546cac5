// Oniguruma -> PCRE2. What these patterns use reads alike in both but for Unicode: HF's engine knows Unicode
// 16, and with UCP PCRE2's \s holds U+180E, which is no White_Space since Unicode 6.3. So \s is written out,
// and \p{...} gets what PCRE2 does not know yet.
#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode_tables.h"

namespace rlcpp::tokenizer {
namespace {

constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    for (; pos_ < pattern_.size(); ++pos_) {
      const char c = pattern_[pos_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        inside_class(c);
      } else if (c == '[') {
        open_class();
      } else {
        // (?m) is another option in Ruby, and (?x) would make white space vanish.
        if (at("(?m") || at("(?x") || at("(?-")) throw unsupported(pattern_.substr(pos_, 3));
        // {,n} is 0 to n there, and {m,n}+ is no possessive repeat.
        if (at("{,") || at("}+")) throw unsupported(pattern_.substr(pos_, 2));
        out_.push_back(c);
      }
    }
    return std::move(out_);
  }

 private:
  bool at(std::string_view text) const { return std::string_view(pattern_).substr(pos_).starts_with(text); }

  Error unsupported(std::string_view what) const {
    return bad_input(
        fmt::format("{}: {} in the regular expression {} is not supported", where_, what, pattern_));
  }

  // A set of characters, which outside of brackets needs brackets of its own.
  void put_set(std::string_view set, bool negated, std::string_view name) {
    if (in_class_) {
      if (negated) throw unsupported(fmt::format("{} inside brackets", name));
      out_ += set;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", set);
    }
  }

  void escape() {
    if (pos_ + 1 >= pattern_.size()) throw unsupported("a backslash at the end");
    const char next = pattern_[++pos_];
    if (next == 's' || next == 'S') {
      put_set(kSpaces, next == 'S', "\\S");
    } else if (next == 'd' || next == 'D') {
      put_set(property_set("Nd"), next == 'D', "\\D");
    } else if (next == 'p' || next == 'P') {
      property(next == 'P');
    } else if ((next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z') || (next >= '0' && next <= '9')) {
      // Letters have another meaning in each engine but for these characters.
      if (std::string_view("rnt").find(next) == std::string_view::npos && !hexadecimal(next)) {
        throw unsupported(fmt::format("\\{}", next));
      }
      if (std::string_view("rnt").find(next) != std::string_view::npos) out_ += {'\\', next};
    } else {
      out_ += {'\\', next};
    }
  }

  // \uHHHH and \xHH, which PCRE2 writes \x{HHHH}.
  bool hexadecimal(char letter) {
    const std::size_t count = letter == 'u' ? 4 : letter == 'x' ? 2 : 0;
    const std::string digits = pattern_.substr(std::min(pos_ + 1, pattern_.size()), count);
    if (count == 0 || digits.size() != count ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      return false;
    }
    out_ += fmt::format("\\x{{{}}}", digits);
    pos_ += count;
    return true;
  }

  std::string property_set(const std::string& name) const {
    const auto missing = missing_in_pcre2(name);
    if (!missing) throw unsupported(fmt::format("\\p{{{}}}", name));
    std::string set = fmt::format("\\p{{{}}}", name);
    for (const CodePointRange& range : *missing) {
      set += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<std::uint32_t>(range.first),
                         static_cast<std::uint32_t>(range.last));
    }
    return set;
  }

  void property(bool negated) {
    const std::size_t close = pattern_.find('}', pos_);
    if (!at(negated ? "P{" : "p{") || close == std::string::npos) throw unsupported("\\p without braces");
    std::string name = pattern_.substr(pos_ + 2, close - pos_ - 2);
    if (name.starts_with("^")) {
      negated = !negated;
      name.erase(0, 1);
    }
    put_set(property_set(name), negated, "\\P");
    pos_ = close;
  }

  void inside_class(char c) {
    if (c == '[') throw unsupported("a bracket inside brackets");
    if (at("&&")) throw unsupported("&&");
    if (c == ']') in_class_ = false;
    out_.push_back(c);
  }

  void open_class() {
    in_class_ = true;
    out_.push_back('[');
    if (pos_ + 1 < pattern_.size() && pattern_[pos_ + 1] == '^') out_.push_back(pattern_[++pos_]);
    if (pos_ + 1 < pattern_.size() && pattern_[pos_ + 1] == ']')
      throw unsupported("a bracket inside brackets");
  }

  const std::string& pattern_;
  const std::string& where_;
  std::string out_;
  std::size_t pos_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string translate_pattern(const std::string& pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace rlcpp::tokenizer
