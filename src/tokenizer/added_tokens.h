// Tokens that are looked for in the text before anything else happens to it, as HF's AddedVocabulary does.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/definition.h"

namespace rlcpp::tokenizer {

// A stretch of the text: an added token (id >= 0) or text between them (id < 0).
struct Piece {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::int32_t id = -1;
};

// What a token that must stand alone (single_word) may not touch: \w of Rust's regex crate.
bool is_word_character(char32_t c);

class AddedTokenMatcher {
 public:
  // Adds a token to look for as `pattern` (its content, or its normalised content). The first of equal
  // patterns wins.
  void add(const AddedToken& token, const std::string& pattern);

  // Splits `text` (valid UTF-8): leftmost, then longest match. With parse_special false, special tokens stay
  // text. Empty stretches are left out.
  void split(std::string_view text, bool parse_special, std::vector<Piece>& out) const;
  bool empty() const { return tokens_.empty(); }

 private:
  // A trie of bytes; children as sorted lists, since the trie is small and only entered on a plausible first
  // byte.
  struct Node {
    std::vector<std::pair<std::uint8_t, std::int32_t>> children;
    std::int32_t token = -1;  // index in tokens_
  };
  std::int32_t longest_at(std::string_view text, std::size_t pos, std::size_t& end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> first_{};
};

}  // namespace rlcpp::tokenizer
