// Byte-level BPE from HF's tokenizer.json, with the results of HF's `tokenizers` on every input.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::tokenizer {

// Thread-safe: all calls are const and may run at once.
class Tokenizer {
 public:
  // From a file, or from a directory that holds tokenizer.json (and tokenizer_config.json for the special
  // roles and the chat template). Throws bad_input with file and what is wrong.
  static Tokenizer load(const std::string& path);
  static Tokenizer from_json(const std::string& tokenizer_json, const std::string& where);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // parse_special: added tokens that are marked special in `text` become their ids (as HF does); false: they
  // are text (HF's split_special_tokens). add_special: also the tokens that the post-processor adds, e.g.
  // Llama 3's BOS (HF's add_special_tokens); a rendered chat template holds them already, hence off by
  // default. Ill-formed UTF-8 is read as U+FFFD, as Python does before HF sees the text. A byte without a
  // token, which only a vocabulary with part of the 256 bytes and no unk token has, is left out, as HF does;
  // lost_bytes() counts them for a warning.
  std::vector<std::int32_t> encode(std::string_view text, bool parse_special = true,
                                   bool add_special = false) const;
  // Bytes of `text`, normalised, that encode() leaves out.
  std::size_t lost_bytes(std::string_view text) const;
  // False, as with nearly every vocabulary: there are no such bytes.
  bool may_lose_bytes() const;
  // Bytes of the tokens joined; skip_special leaves out special tokens. Invalid UTF-8 becomes U+FFFD, as HF
  // does. Ids without a token (a model's padded vocabulary) yield nothing, as in HF.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;
  std::string token_bytes(std::int32_t id) const;  // exact bytes of one token; empty if there is none

  std::int32_t vocab_size() const;                   // largest id + 1
  std::int32_t id_of(std::string_view token) const;  // of an exact added or vocabulary token; -1 if none
  bool is_special(std::int32_t id) const;
  std::int32_t bos_id() const;  // from tokenizer_config.json; -1 if none
  std::int32_t eos_id() const;
  std::int32_t pad_id() const;
  const std::string& bos_token() const;  // their texts, as chat templates want them; empty if none
  const std::string& eos_token() const;
  const std::string& pad_token() const;
  const std::string& chat_template() const;  // Jinja source; empty if none
  const std::string& directory() const;  // where it was loaded from; its files are copied beside saved models

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// `rlcpp tokenize train`: byte-level BPE learned from text, written as tokenizer.json + tokenizer_config.json
// (ChatML template, <|endoftext|>, <|im_start|>, <|im_end|>) that HF loads and that gives the same ids there.
//
// Ids: the bytes of the alphabet in the order of their characters, the merges as learned, the special tokens,
// the added tokens. Text is normalised to NFC and cut by Qwen2's pattern; merges join the most frequent pair,
// among equals the one with the smallest left id, then right id (the rule of HF's BpeTrainer, so both learn
// the same merges).
struct TrainOptions {
  // Of all tokens together, at least the alphabet + 3 special + added tokens; fewer if the text has no more
  // pairs.
  std::int32_t vocab_size = 512;
  std::vector<std::string> added_tokens;  // kept whole, not special: e.g. <reversed_text>
  bool only_seen_bytes = false;  // alphabet of the corpus, the template and its role names, not all 256 bytes
  bool merges = true;            // false: the alphabet alone, whose size vocab_size then only limits
  std::int64_t min_frequency = 2;  // a rarer pair is not merged
  std::function<void(std::int64_t done, std::int64_t total)> progress =
      {};  // merges learned; called now and then
};
struct TrainResult {
  std::int32_t vocab_size = 0;
  std::int32_t alphabet = 0;
  std::int32_t learned = 0;  // tokens made by merges
  std::int32_t merges = 0;   // at least as many: two can make the same token
};
TrainResult train_tokenizer(const std::vector<std::string>& texts, const TrainOptions& options,
                            const std::string& out_dir);

}  // namespace rlcpp::tokenizer
