// GPT-2's alphabet: every byte is written as one printable character, so that a vocabulary of byte strings
// can live in JSON (openai/gpt-2, encoder.py, bytes_to_unicode). HF's ByteLevel uses the same table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rlcpp::tokenizer {

// The character that stands for `byte`: itself if it is printable Latin-1, else U+0100 and up in byte order.
char32_t character_of_byte(std::uint8_t byte);

// Bytes -> UTF-8 text in the alphabet, e.g. " a" -> "Ġa".
std::string to_alphabet(std::string_view bytes);

// UTF-8 text in the alphabet -> bytes; nullopt if a character is not of the alphabet.
std::optional<std::string> from_alphabet(std::string_view token);

}  // namespace rlcpp::tokenizer
