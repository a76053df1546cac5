// Unicode normal forms by utf8proc.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/definition.h"

namespace rlcpp::tokenizer {

// `text` is valid UTF-8. Returns it unchanged where a quick look shows that nothing can change.
std::string normalize(std::string_view text, Normalization form);

}  // namespace rlcpp::tokenizer
