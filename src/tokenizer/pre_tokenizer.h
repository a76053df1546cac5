// Cuts normalised text into the words that BPE works on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/definition.h"
#include "tokenizer/regex.h"

namespace rlcpp::tokenizer {

class PreTokenizer {
 public:
  // Throws bad_input naming `where` for a pattern that cannot be used.
  PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where);

  // Calls visit(word) for each word of `text` (valid UTF-8) from left to right; words are not empty and lie
  // in `text` or in storage that lives until the call returns.
  template <class Visit>
  void split(std::string_view text, Visit&& visit) const {
    std::string storage;
    std::vector<Span> words;
    const std::string_view base = cut(text, storage, words);
    for (const Span& word : words) visit(base.substr(word.begin, word.end - word.begin));
  }

 private:
  struct Step {
    SplitStep rule;
    std::vector<Regex> regex;  // none or one
  };
  std::string_view cut(std::string_view text, std::string& storage, std::vector<Span>& words) const;

  std::vector<Step> steps_;
};

}  // namespace rlcpp::tokenizer
