// Source of a template -> tokens, with Jinja2's rules for white space (trim_blocks and lstrip_blocks on).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::tokenizer::jinja {

enum class TokenKind : std::uint8_t {
  kText,         // between tags
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kName,
  kInteger,  // digits without underscores, or with a prefix 0x, 0o, 0b
  kFloat,
  kString,    // escapes resolved
  kOperator,  // one of + - * / // % ** ~ [ ] ( ) { } == != < <= > >= = . : | , ;
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 1;
};

// Ends with a kEnd token. Throws bad_input with the line.
std::vector<Token> tokenize(const std::string& source);

}  // namespace rlcpp::tokenizer::jinja
