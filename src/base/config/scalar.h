// One value: from a file or a flag to a Scalar of the field's type, and back to TOML.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/config/schema.h"
#include "base/config/tree.h"

namespace rlcpp::config {

// Sets `problem` (because and help; place and what are the caller's) and returns nothing if the value does
// not fit.
std::optional<Scalar> scalar_from_node(const Field& field, const Node& node, Problem& problem);
// The same for the text of a flag: --a.b 3, --a.b [1,2], --a.b x,y, --a.b None.
std::optional<Scalar> scalar_from_text(const Field& field, std::string_view text, Problem& problem);

// What a field accepts: "a number above 0 and at most 1", "one of: adamw, muon, or None".
std::string allowed_text(const Field& field);
// "bool", "int", "float", "string", "list of strings", ...
std::string type_name(const Field& field);

// The value as TOML that loads back equal; None is the string "None".
std::string scalar_to_toml(const Field& field, const Scalar& value);
// A TOML basic string with quotes.
std::string toml_string(std::string_view text);
// A bare key where TOML allows it, else a quoted one.
std::string toml_key(std::string_view key);
// Shortest digits that read back equal, with a point or an exponent so that it stays a float.
std::string float_text(double value, bool narrow);

}  // namespace rlcpp::config
