#include "tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "tokenizer/unicode_tables.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// Start of the code point that ends at `end`.
std::size_t previous(std::string_view text, std::size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<std::uint8_t>(text[end]) & 0xC0) == 0x80);
  return end;
}

char32_t code_point_at(std::string_view text, std::size_t pos) {
  return next_code_point(text, pos);
}

}  // namespace

bool is_word_character(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return contains(further_word_characters(), c);
  }
}

void AddedTokenMatcher::add(const AddedToken& token, const std::string& pattern) {
  if (pattern.empty()) return;
  std::int32_t node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<std::uint8_t>(c);
    const auto& children = nodes_[static_cast<std::size_t>(node)].children;
    const auto found =
        std::find_if(children.begin(), children.end(), [&](const auto& e) { return e.first == byte; });
    if (found != children.end()) {
      node = found->second;
      continue;
    }
    const auto fresh = static_cast<std::int32_t>(nodes_.size());
    nodes_[static_cast<std::size_t>(node)].children.emplace_back(byte, fresh);
    nodes_.emplace_back();
    node = fresh;
  }
  if (nodes_[static_cast<std::size_t>(node)].token >= 0) return;
  nodes_[static_cast<std::size_t>(node)].token = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
  first_[static_cast<std::uint8_t>(pattern[0])] = true;
}

std::int32_t AddedTokenMatcher::longest_at(std::string_view text, std::size_t pos, std::size_t& end) const {
  std::int32_t best = -1;
  std::int32_t node = 0;
  for (std::size_t i = pos; i < text.size(); ++i) {
    const auto& children = nodes_[static_cast<std::size_t>(node)].children;
    const auto byte = static_cast<std::uint8_t>(text[i]);
    const auto found =
        std::find_if(children.begin(), children.end(), [&](const auto& e) { return e.first == byte; });
    if (found == children.end()) break;
    node = found->second;
    if (nodes_[static_cast<std::size_t>(node)].token >= 0) {
      best = nodes_[static_cast<std::size_t>(node)].token;
      end = i + 1;
    }
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view text, bool parse_special, std::vector<Piece>& out) const {
  std::size_t text_begin = 0;  // of the stretch that is not yet cut off
  std::size_t pos = 0;
  while (!tokens_.empty() && pos < text.size()) {
    if (!first_[static_cast<std::uint8_t>(text[pos])]) {
      ++pos;
      continue;
    }
    std::size_t end = pos;
    const std::int32_t index = longest_at(text, pos, end);
    if (index < 0) {
      ++pos;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = pos;
    pos = end;  // the search goes on behind the match, also if the match is discarded
    if (token.special && !parse_special) continue;
    if (token.single_word) {
      const bool word_before = begin > 0 && is_word_character(code_point_at(text, previous(text, begin)));
      const bool word_after = end < text.size() && is_word_character(code_point_at(text, end));
      if (word_before || word_after) continue;
    }
    if (token.lstrip) {
      while (begin > text_begin && is_white_space(code_point_at(text, previous(text, begin)))) {
        begin = previous(text, begin);
      }
    }
    if (token.rstrip) {
      while (end < text.size() && is_white_space(code_point_at(text, end))) next_code_point(text, end);
    }
    if (text_begin < begin) out.push_back({text_begin, begin, -1});
    out.push_back({begin, end, token.id});
    text_begin = end;
  }
  if (text_begin < text.size()) out.push_back({text_begin, text.size(), -1});
}

}  // namespace rlcpp::tokenizer
