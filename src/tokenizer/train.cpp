// train_tokenizer(): counts words, learns merges, writes the two files.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "base/durable.h"
#include "base/error.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_trainer.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/definition.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

// ChatML (OpenAI, 2023), which every family of small models understands.
constexpr const char* kChatMl =
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n";
constexpr std::array<const char*, 3> kSpecial = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
// What the template writes of its own accord, and the roles that it writes for others.
constexpr const char* kTemplateText = "\nsystemuserassistanttool";

// Words of the texts with their counts; added tokens are cut out, as encode() will.
std::map<std::string, std::int64_t> count_words(const std::vector<std::string>& texts,
                                                const AddedTokenMatcher& added) {
  const PreTokenizer pre_tokenizer({SplitStep{kQwenPattern, SplitBehaviour::kIsolated, false, false}},
                                   "tokenizer");
  std::unordered_map<std::string, std::int64_t> counts;
  std::vector<Piece> pieces;
  for (const std::string& raw : texts) {
    const std::string text = lossy_utf8(raw);
    pieces.clear();
    added.split(text, true, pieces);
    for (const Piece& piece : pieces) {
      if (piece.id >= 0) continue;
      const std::string normal =
          normalize(std::string_view(text).substr(piece.begin, piece.end - piece.begin), Normalization::kNfc);
      pre_tokenizer.split(normal, [&](std::string_view word) { ++counts[std::string(word)]; });
    }
  }
  return {counts.begin(), counts.end()};
}

// Bytes in the order of their characters, which is the order HF's trainer gives their ids.
std::string make_alphabet(const std::map<std::string, std::int64_t>& words, bool only_seen) {
  std::set<char32_t> seen;
  std::map<char32_t, char> byte_of;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = character_of_byte(static_cast<std::uint8_t>(byte));
    byte_of[c] = static_cast<char>(byte);
    if (!only_seen) seen.insert(c);
  }
  const auto see = [&](std::string_view bytes) {
    for (const char byte : bytes) seen.insert(character_of_byte(static_cast<std::uint8_t>(byte)));
  };
  see(kTemplateText);
  for (const auto& [word, count] : words) see(word);
  std::string alphabet;
  for (const char32_t c : seen) alphabet.push_back(byte_of[c]);
  return alphabet;
}

Json added_entry(const std::string& content, bool special) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", special}};
}

Json tokenizer_json(const LearnedBpe& learned, const std::vector<std::string>& added) {
  Json tokens = Json::array();
  Json vocab = Json::object();
  for (std::size_t id = 0; id < learned.tokens.size(); ++id) vocab[to_alphabet(learned.tokens[id])] = id;
  std::size_t next = learned.tokens.size();
  for (std::size_t i = 0; i < added.size(); ++i) {
    Json entry = {{"id", next++}};
    entry.update(added_entry(added[i], i < kSpecial.size()));
    tokens.push_back(entry);
  }
  Json merges = Json::array();
  for (const auto& [left, right] : learned.merges) {
    merges.push_back({to_alphabet(learned.tokens[static_cast<std::size_t>(left)]),
                      to_alphabet(learned.tokens[static_cast<std::size_t>(right)])});
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kQwenPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", tokens},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

Json config_json(std::size_t first_added, const std::vector<std::string>& added) {
  Json decoder = Json::object();
  for (std::size_t i = 0; i < added.size(); ++i) {
    decoder[std::to_string(first_added + i)] = added_entry(added[i], i < kSpecial.size());
  }
  return {{"add_prefix_space", false},
          {"added_tokens_decoder", decoder},
          {"bos_token", nullptr},
          {"chat_template", kChatMl},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", "<|im_end|>"},
          {"errors", "replace"},
          {"pad_token", "<|endoftext|>"},
          {"split_special_tokens", false},
          {"tokenizer_class", "PreTrainedTokenizerFast"},
          {"unk_token", nullptr}};
}

}  // namespace

TrainResult train_tokenizer(const std::vector<std::string>& texts, const TrainOptions& options,
                            const std::string& out_dir) {
  std::vector<std::string> added(kSpecial.begin(), kSpecial.end());
  for (const std::string& token : options.added_tokens) {
    if (token.empty() || !is_valid_utf8(token)) {
      throw bad_input(fmt::format("the added token \"{}\" must be text, and not empty", token));
    }
    if (std::find(added.begin(), added.end(), token) != added.end()) {
      throw bad_input(fmt::format("the added token {} is given twice, or is a special token already", token));
    }
    added.push_back(token);
  }
  AddedTokenMatcher matcher;
  for (const std::string& content : added) {
    AddedToken token;
    token.id = 0;
    token.content = content;
    matcher.add(token, content);
  }
  const std::map<std::string, std::int64_t> words = count_words(texts, matcher);
  const std::string alphabet = make_alphabet(words, options.only_seen_bytes);
  const std::size_t least = alphabet.size() + added.size();
  const std::int64_t room = options.vocab_size - static_cast<std::int64_t>(added.size());
  if (room < static_cast<std::int64_t>(alphabet.size())) {
    throw bad_input(
        fmt::format("vocab_size {} is too small", options.vocab_size),
        fmt::format("{} bytes, {} special tokens and {} added tokens take {}", alphabet.size(),
                    kSpecial.size(), options.added_tokens.size(), least),
        fmt::format("give at least {}{}", least,
                    options.only_seen_bytes ? "" : ", or only the bytes that occur (--characters)"));
  }
  const std::int64_t learned_size = options.merges ? room : static_cast<std::int64_t>(alphabet.size());
  const LearnedBpe learned =
      learn_bpe(words, alphabet, learned_size, options.min_frequency, options.progress);

  durable::FileLayer& files = durable::system_files();
  durable::make_directories(files, out_dir);
  durable::write_file(files, out_dir + "/tokenizer.json", tokenizer_json(learned, added).dump(2) + "\n");
  durable::write_file(files, out_dir + "/tokenizer_config.json",
                      config_json(learned.tokens.size(), added).dump(2) + "\n");
  TrainResult result;
  result.vocab_size = static_cast<std::int32_t>(learned.tokens.size() + added.size());
  result.alphabet = static_cast<std::int32_t>(alphabet.size());
  result.learned = static_cast<std::int32_t>(learned.tokens.size() - alphabet.size());
  result.merges = static_cast<std::int32_t>(learned.merges.size());
  return result;
}

}  // namespace rlcpp::tokenizer
