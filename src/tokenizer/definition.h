// What a tokenizer.json says, after every part that we do not support has been refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rlcpp::tokenizer {

struct AddedToken {
  std::int32_t id = -1;
  std::string content;
  bool special = false;
  bool lstrip = false;       // takes white space before it
  bool rstrip = false;       // and after it
  bool single_word = false;  // only between characters that are not word characters
  bool normalized = false;   // looked for in the normalised text
};

enum class Normalization : std::uint8_t { kNfc, kNfd, kNfkc, kNfkd };

enum class SplitBehaviour : std::uint8_t {
  kRemoved,
  kIsolated,
  kContiguous,
  kMergedWithPrevious,
  kMergedWithNext
};

// One step of the pre-tokenizer before the bytes are taken.
struct SplitStep {
  std::string pattern;  // regular expression in HF's (Oniguruma's) syntax
  SplitBehaviour behaviour = SplitBehaviour::kIsolated;
  bool invert = false;
  bool add_prefix_space = false;  // before the split, to pieces that do not begin with a space
};

// A piece of TemplateProcessing's `single`: a token, or the text where id < 0.
struct TemplatePiece {
  std::int32_t id = -1;
};

struct Definition {
  std::string where;                                        // file, for errors
  std::vector<std::pair<std::string, std::int32_t>> vocab;  // in the byte alphabet
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  bool ignore_merges = false;
  bool fuse_unk = false;
  std::string unk_token;  // empty: none
  std::vector<Normalization> normalizers;
  std::vector<SplitStep> steps;
  std::vector<AddedToken> added_tokens;
  std::vector<TemplatePiece> post_template;  // empty: the text alone
};

// GPT-2's pattern, which ByteLevel uses with use_regex, and Qwen2's, which tokenizers trained here use.
extern const char* const kGpt2Pattern;
extern const char* const kQwenPattern;

// Throws bad_input naming `where`, the part and what is not supported or malformed.
Definition parse_definition(const std::string& json, const std::string& where);

}  // namespace rlcpp::tokenizer
