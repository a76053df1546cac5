// Byte-level BPE from HF's tokenizer.json, with the results of HF's `tokenizers` on every input.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::tokenizer {

class Tokenizer {
 public:
  // From a file, or from a directory that holds tokenizer.json (and tokenizer_config.json for the special roles and the
  // chat template). Throws bad_input with file and what is wrong.
  static Tokenizer load(const std::string& path);
  static Tokenizer from_json(const std::string& tokenizer_json, const std::string& where);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // parse_special: added tokens that are marked special in `text` become their ids (as HF does); false: they are text.
  std::vector<std::int32_t> encode(std::string_view text, bool parse_special = true) const;
  // Bytes of the tokens joined; skip_special leaves out special tokens. Invalid UTF-8 becomes U+FFFD, as HF does.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;
  std::string token_bytes(std::int32_t id) const;  // exact bytes of one token

  std::int32_t vocab_size() const;                 // largest id + 1
  std::int32_t id_of(std::string_view token) const;  // of an exact added or vocabulary token; -1 if none
  std::int32_t eos_id() const;                     // from tokenizer_config.json; -1 if none
  std::int32_t pad_id() const;
  const std::string& chat_template() const;        // Jinja source; empty if none
  const std::string& directory() const;            // where it was loaded from; its files are copied beside saved models

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// `rlcpp tokenize train`: byte-level BPE learned from text, written as tokenizer.json + tokenizer_config.json (ChatML template,
// <|im_start|>, <|im_end|>, <|endoftext|>) that HF loads. vocab_size >= 256 + special and added tokens. With `characters`, the alphabet is only
// the bytes that occur in `text` and the template, and no merges are learned beyond vocab_size.
struct TrainOptions {
  std::int32_t vocab_size = 512;
  std::vector<std::string> added_tokens;  // kept whole, not special: e.g. <reversed_text>
  bool only_seen_bytes = false;           // alphabet of the corpus instead of all 256 bytes
};
void train_tokenizer(const std::vector<std::string>& texts, const TrainOptions& options, const std::string& out_dir);

}  // namespace rlcpp::tokenizer
