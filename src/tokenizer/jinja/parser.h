// Tokens -> syntax tree, by Jinja2's grammar. What it knows and we do not (include, import, extends, block,
// autoescape, recursive loops) is refused by name, as are unknown filters and tests.
#pragma once

#include <string>

#include "tokenizer/jinja/ast.h"

namespace rlcpp::tokenizer::jinja {

// Throws bad_input with the line.
Body parse(const std::string& source);

}  // namespace rlcpp::tokenizer::jinja
