// What stands beside tokenizer.json: tokenizer_config.json (roles of tokens, chat template, late added
// tokens) and chat_template.jinja.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/definition.h"

namespace rlcpp::tokenizer {

struct Settings {
  std::string where;                                       // the tokenizer_config.json, for errors
  std::string bos_token, eos_token, pad_token, unk_token;  // empty: none
  std::string chat_template;                               // Jinja source; empty: none
  std::vector<AddedToken> added_tokens;                    // added_tokens_decoder
};

// Reads what exists in `directory`; absent files mean defaults. chat_template.jinja wins over the key of the
// same name, as in transformers. Throws bad_input with the file and what is wrong.
Settings read_settings(const std::string& directory);

}  // namespace rlcpp::tokenizer
