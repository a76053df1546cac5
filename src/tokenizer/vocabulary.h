// A byte-level BPE vocabulary as other formats keep it (GGUF's tokenizer.ggml.*) → the files of a Hugging
// Face tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::tokenizer {

// What a token is, with GGUF's numbers (llama.cpp, enum llama_token_type).
enum class TokenKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Vocabulary {
  std::string where;                // file, for errors
  std::vector<std::string> tokens;  // by id, normal ones in GPT-2's byte alphabet
  std::vector<std::int64_t> kinds;  // TokenKind of each; empty: all are normal
  std::vector<std::string> merges;  // "left right", best first
  std::string pre_tokenizer;        // llama.cpp's name: "llama-bpe", "qwen2", "smollm", "gpt-2", ...
  bool add_bos = false, add_eos = false;
  std::int64_t bos = -1, eos = -1, pad = -1, unknown = -1;  // ids; -1: none
  std::string chat_template;                                // Jinja source; may be empty
  std::int64_t max_length = 0;                              // the model's positions
};

struct TokenizerFiles {
  std::string tokenizer_json, tokenizer_config_json;
};

// Throws bad_input naming `where`: a pre-tokenizer that is not known, a token that is there twice, a merge
// that is no pair of tokens, an id out of range.
TokenizerFiles tokenizer_files(const Vocabulary& vocabulary);

}  // namespace rlcpp::tokenizer
