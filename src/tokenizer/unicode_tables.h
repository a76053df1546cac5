// Where the Unicode of HF's tokenizers differs from that of our libraries (tools/oracle_unicode.py).
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace rlcpp::tokenizer {

struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;
};

// Characters that have the general category `property` (L, Lu, N, Nd, P, ...) in HF's regular expressions
// (Unicode 16) but not in PCRE2 10.42 (Unicode 14); nullopt for a property that has not been compared.
std::optional<std::span<const CodePointRange>> missing_in_pcre2(std::string_view property);

// Characters with normalisation data in utf8proc that HF's normaliser, which knows Unicode 9, leaves alone.
// Sorted.
std::span<const CodePointRange> unknown_to_normalizer();

// \w of Rust's regex crate (Unicode 16) beyond the letters, marks, decimal digits, letter numbers, connectors
// and join controls that utf8proc knows. Sorted.
std::span<const CodePointRange> further_word_characters();

// What the pre-tokenizer Digits (Rust's char::is_numeric, Unicode 17) takes for a number beyond \p{N}.
std::span<const CodePointRange> further_digits();

bool contains(std::span<const CodePointRange> sorted, char32_t c);

}  // namespace rlcpp::tokenizer
