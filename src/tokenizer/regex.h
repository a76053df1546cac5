// Regular expressions of pre-tokenizers. The files are written for Oniguruma (Ruby syntax); PCRE2 runs them,
// compiled just in time. translate_pattern() levels the differences that these patterns can meet.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::tokenizer {

struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Regex {
 public:
  // Throws bad_input naming `where` for a pattern that does not compile or whose meaning would differ.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // Appends the matches in `text` (valid UTF-8) from left to right, not overlapping. Thread-safe.
  void find_all(std::string_view text, std::vector<Span>& out) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The PCRE2 pattern that matches what Oniguruma matches with `pattern`.
std::string translate_pattern(const std::string& pattern, const std::string& where);

}  // namespace rlcpp::tokenizer
