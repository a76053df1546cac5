// Finding answers in text: verifiers' XMLParser and \boxed{}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::env {

// Content of the first <tag>...</tag>, stripped as Python strips; nullopt if there is none. As verifiers'
// XMLParser.parse_answer on a chat message: re.search(r"<tag>\s*(.*?)\s*</tag>", text,
// re.DOTALL).group(1).strip().
std::optional<std::string_view> tag_content(std::string_view text, std::string_view tag);

// Contents of all <tag>...</tag>, unstripped, one after the other without overlap: Python's
// re.findall(r"<tag>(.*?)</tag>", text, re.DOTALL).
std::vector<std::string_view> tag_contents(std::string_view text, std::string_view tag);

// Content of the last \boxed{...} with balanced braces, stripped; nullopt if there is none or it is not
// closed.
std::optional<std::string_view> last_boxed(std::string_view text);

// The last run of ASCII digits with an optional '-' before it, or nullopt.
std::optional<std::string_view> last_integer(std::string_view text);

}  // namespace rlcpp::env
