#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

namespace rlcpp::tokenizer {
namespace {

// Joins and drops the stretches of one piece as HF's NormalizedString::split does. `matched` tells for each
// whether the pattern (or, inverted, its absence) covers it.
void apply_behaviour(SplitBehaviour behaviour, const std::vector<Span>& stretches,
                     const std::vector<bool>& matched, std::vector<Span>& out) {
  const std::size_t first = out.size();
  bool previous = false;
  switch (behaviour) {
    case SplitBehaviour::kIsolated:
      out.insert(out.end(), stretches.begin(), stretches.end());
      return;
    case SplitBehaviour::kRemoved:
      for (std::size_t i = 0; i < stretches.size(); ++i) {
        if (!matched[i]) out.push_back(stretches[i]);
      }
      return;
    case SplitBehaviour::kContiguous:
    case SplitBehaviour::kMergedWithPrevious:
      for (std::size_t i = 0; i < stretches.size(); ++i) {
        const bool join =
            behaviour == SplitBehaviour::kContiguous ? matched[i] == previous : matched[i] && !previous;
        if (join && out.size() > first) {
          out.back().end = stretches[i].end;
        } else {
          out.push_back(stretches[i]);
        }
        previous = matched[i];
      }
      return;
    case SplitBehaviour::kMergedWithNext:
      for (std::size_t i = stretches.size(); i-- > 0;) {
        if (matched[i] && !previous && out.size() > first) {
          out.back().begin = stretches[i].begin;
        } else {
          out.push_back(stretches[i]);
        }
        previous = matched[i];
      }
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
      return;
  }
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where) {
  for (const SplitStep& rule : steps) {
    Step step{rule, {}};
    if (!rule.pattern.empty()) step.regex.emplace_back(rule.pattern, where);
    steps_.push_back(std::move(step));
  }
}

std::string_view PreTokenizer::cut(std::string_view text, std::string& storage,
                                   std::vector<Span>& words) const {
  if (!text.empty()) words.push_back({0, text.size()});
  std::vector<Span> next;
  std::vector<Span> matches;
  std::vector<Span> stretches;
  std::vector<bool> matched;
  for (const Step& step : steps_) {
    if (step.rule.add_prefix_space) {
      std::string spaced;
      for (Span& word : words) {
        const std::string_view piece = text.substr(word.begin, word.end - word.begin);
        word.begin = spaced.size();
        if (piece.front() != ' ') spaced.push_back(' ');
        spaced += piece;
        word.end = spaced.size();
      }
      storage = std::move(spaced);
      text = storage;
    }
    if (step.regex.empty()) continue;
    next.clear();
    for (const Span& word : words) {
      matches.clear();
      stretches.clear();
      matched.clear();
      step.regex[0].find_all(text.substr(word.begin, word.end - word.begin), matches);
      std::size_t end = word.begin;
      const auto add = [&](std::size_t from, std::size_t to, bool is_match) {
        stretches.push_back({from, to});
        matched.push_back(is_match != step.rule.invert);
      };
      for (const Span& match : matches) {
        if (word.begin + match.begin > end) add(end, word.begin + match.begin, false);
        add(word.begin + match.begin, word.begin + match.end, true);
        end = word.begin + match.end;
      }
      if (end < word.end) add(end, word.end, false);
      apply_behaviour(step.rule.behaviour, stretches, matched, next);
    }
    std::erase_if(next, [](const Span& span) { return span.begin == span.end; });
    words.swap(next);
  }
  return text;
}

}  // namespace rlcpp::tokenizer
