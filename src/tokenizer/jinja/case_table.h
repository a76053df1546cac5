// Letter case beyond one character for one: Unicode's SpecialCasing.txt and the cased characters that are no
// letters.
#pragma once

namespace rlcpp::tokenizer::jinja {

// What `c` becomes in upper or title case if that is more than one character; else nullptr.
const char32_t* special_upper(char32_t c);
const char32_t* special_title(char32_t c);

// Other_Lowercase and Other_Uppercase of Unicode's PropList.txt: cased, though no letters with a case of
// their own.
bool is_other_lowercase(char32_t c);
bool is_other_cased(char32_t c);

}  // namespace rlcpp::tokenizer::jinja
