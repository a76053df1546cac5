#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "tokenizer/definition.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;

// How text is cut before BPE. llama.cpp gives many models the same rule under names of their own
// (llama-vocab.cpp); these are the ones of the rules that tokenizers of our architectures have.
enum class Cut : std::uint8_t { kGpt2, kDigitsGpt2, kLlama3, kQwen2 };
struct CutName {
  std::string_view name;
  Cut cut;
};
constexpr std::array kCuts = {CutName{"gpt-2", Cut::kGpt2},
                              CutName{"phi-2", Cut::kGpt2},
                              CutName{"olmo", Cut::kGpt2},
                              CutName{"smollm", Cut::kDigitsGpt2},
                              CutName{"starcoder", Cut::kDigitsGpt2},
                              CutName{"refact", Cut::kDigitsGpt2},
                              CutName{"exaone", Cut::kDigitsGpt2},
                              CutName{"llama-bpe", Cut::kLlama3},
                              CutName{"llama3", Cut::kLlama3},
                              CutName{"llama-v3", Cut::kLlama3},
                              CutName{"falcon3", Cut::kLlama3},
                              CutName{"qwen2", Cut::kQwen2},
                              CutName{"deepseek-r1-qwen", Cut::kQwen2}};

// Llama 3's pattern: Qwen2's with up to three digits together.
std::string llama3_pattern() {
  std::string pattern = kQwenPattern;
  const std::string_view digit = R"(|\p{N}|)";
  const std::size_t at = pattern.find(digit);
  RLCPP_CHECK(at != std::string::npos);
  return pattern.replace(at, digit.size(), R"(|\p{N}{1,3}|)");
}

Cut cut_of(const Vocabulary& v) {
  std::string known;
  for (const auto& [name, cut] : kCuts) {
    if (name == v.pre_tokenizer) return cut;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw bad_input(
      fmt::format("{}: the pre-tokenizer \"{}\" is not known", v.where, printable(v.pre_tokenizer)),
      "known are " + known, "put the model's own tokenizer.json beside the weights instead");
}

Json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json split_step(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json pre_tokenizer_json(Cut cut) {
  const auto sequence = [](const Json& first, const Json& second) {
    return Json{{"type", "Sequence"}, {"pretokenizers", Json::array({first, second})}};
  };
  switch (cut) {
    case Cut::kGpt2:
      return byte_level(true);
    case Cut::kDigitsGpt2:
      return sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true));
    case Cut::kLlama3:
      return sequence(split_step(llama3_pattern()), byte_level(false));
    case Cut::kQwen2:
      return sequence(split_step(kQwenPattern), byte_level(false));
  }
  return nullptr;
}

const std::string& token_at(const Vocabulary& v, std::int64_t id, const char* what) {
  if (id >= 0 && static_cast<std::uint64_t>(id) < v.tokens.size())
    return v.tokens[static_cast<std::size_t>(id)];
  throw bad_input(fmt::format("{}: the {} token has the id {}", v.where, what, id),
                  fmt::format("the vocabulary has {} tokens", v.tokens.size()),
                  "download or convert the file again");
}

// What encode() puts around a text: HF's TemplateProcessing.
Json post_processor_json(const Vocabulary& v) {
  if (!v.add_bos && !v.add_eos) return byte_level(false);
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  const auto add = [&](std::int64_t id, const char* what) {
    const std::string& token = token_at(v, id, what);
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
  };
  if (v.add_bos) add(v.bos, "beginning-of-text");
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (v.add_eos) add(v.eos, "end-of-text");
  pair = single;
  for (Json piece : single) {
    if (piece.contains("Sequence")) piece["Sequence"] = {{"id", "B"}, {"type_id", 1}};
    pair.push_back(piece);
  }
  const Json around = {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  return {{"type", "Sequence"}, {"processors", Json::array({byte_level(false), around})}};
}

// Which tokens BPE knows, and which are found in the text before it.
struct Parts {
  Json vocab = Json::object(), added = Json::array(), decoder = Json::object();
};

TokenKind kind_of(const Vocabulary& v, std::size_t id) {
  if (v.kinds.empty()) return TokenKind::kNormal;
  const std::int64_t kind = v.kinds[id];
  // Bytes are tokens of their own only in SentencePiece's vocabularies.
  if (kind >= 1 && kind <= 5) return static_cast<TokenKind>(kind);
  throw bad_input(fmt::format("{}: token {} is of the kind {}", v.where, id, kind),
                  "byte-level BPE has the kinds 1 to 5", "download or convert the file again");
}

// Ids below the last normal token stay in the model's vocabulary, whatever their kind, so that HF gives them
// the same; later ones follow as added tokens, as HF numbers those, up to the last that is used. What remains
// are rows of the embedding without a token.
Parts parts_of_vocabulary(const Vocabulary& v) {
  Parts out;
  // An ordered object looks through all of its keys for each new one; these are distinct already.
  auto& vocab = out.vocab.get_ref<Json::object_t&>();
  auto& decoder = out.decoder.get_ref<Json::object_t&>();
  std::size_t normal_end = 0, used_end = 0;
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    const TokenKind kind = kind_of(v, id);
    if (kind == TokenKind::kNormal) normal_end = id + 1;
    if (kind != TokenKind::kUnused) used_end = id + 1;
  }
  for (std::size_t id = 0; id < used_end; ++id) {
    const std::string& token = v.tokens[id];
    const TokenKind kind = kind_of(v, id);
    if (token.empty() || !is_valid_utf8(token)) {
      throw bad_input(fmt::format("{}: token {} is empty or no UTF-8", v.where, id), {},
                      "download or convert the file again");
    }
    if (id < normal_end) vocab.emplace_back(token, Json(id));
    if (kind == TokenKind::kNormal || (kind == TokenKind::kUnused && id < normal_end)) continue;
    const bool special = kind != TokenKind::kUserDefined;
    const Json flags = {{"content", token}, {"single_word", false}, {"lstrip", false},
                        {"rstrip", false},  {"normalized", false},  {"special", special}};
    Json entry = {{"id", id}};
    entry.update(flags);
    out.added.push_back(entry);
    decoder.emplace_back(std::to_string(id), flags);
  }
  return out;
}

void require_distinct(const Vocabulary& v, std::unordered_map<std::string_view, std::size_t>& ids) {
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    const auto [other, fresh] = ids.emplace(v.tokens[id], id);
    if (fresh) continue;
    throw bad_input(fmt::format("{}: tokens {} and {} are the same", v.where, other->second, id),
                    fmt::format("both are \"{}\"", printable(v.tokens[id])),
                    "download or convert the file again");
  }
}

Json merges_json(const Vocabulary& v, const std::unordered_map<std::string_view, std::size_t>& ids) {
  Json merges = Json::array();
  for (std::size_t i = 0; i < v.merges.size(); ++i) {
    const std::string_view merge = v.merges[i];
    const std::size_t space = merge.find(' ');
    const bool pair = space != std::string_view::npos && merge.find(' ', space + 1) == std::string_view::npos;
    const std::string left(merge.substr(0, pair ? space : 0)), right(pair ? merge.substr(space + 1) : "");
    if (!pair || !ids.contains(left) || !ids.contains(right) || !ids.contains(left + right)) {
      throw bad_input(fmt::format("{}: merge {} is no pair of tokens", v.where, i),
                      fmt::format("it is \"{}\"", printable(std::string(merge.substr(0, 80)))),
                      "download or convert the file again");
    }
    merges.push_back(Json::array({left, right}));
  }
  return merges;
}

std::string settings_json(const Vocabulary& v, const Json& decoder) {
  const auto token = [&](std::int64_t id, const char* what) {
    return id < 0 ? Json(nullptr) : Json(token_at(v, id, what));
  };
  Json out = {{"add_bos_token", v.add_bos}, {"add_eos_token", v.add_eos}, {"add_prefix_space", false}};
  out["added_tokens_decoder"] = decoder;
  out["bos_token"] = token(v.bos, "beginning-of-text");
  if (!v.chat_template.empty()) out["chat_template"] = v.chat_template;
  out["clean_up_tokenization_spaces"] = false;
  out["eos_token"] = token(v.eos, "end-of-text");
  if (v.max_length > 0) out["model_max_length"] = v.max_length;
  out["pad_token"] = token(v.pad, "padding");
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  out["unk_token"] = token(v.unknown, "unknown");
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

TokenizerFiles tokenizer_files(const Vocabulary& v) {
  if (v.tokens.empty()) throw bad_input(v.where + ": the vocabulary has no tokens");
  if (!v.kinds.empty() && v.kinds.size() != v.tokens.size()) {
    throw bad_input(v.where + ": tokens and their kinds differ in number",
                    fmt::format("{} tokens, {} kinds", v.tokens.size(), v.kinds.size()),
                    "download or convert the file again");
  }
  const Cut cut = cut_of(v);
  std::unordered_map<std::string_view, std::size_t> ids;
  require_distinct(v, ids);
  Parts parts = parts_of_vocabulary(v);
  const Json json = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", parts.added},
      {"normalizer", cut == Cut::kQwen2 ? Json{{"type", "NFC"}} : Json(nullptr)},
      {"pre_tokenizer", pre_tokenizer_json(cut)},
      {"post_processor", post_processor_json(v)},
      {"decoder", byte_level(true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", cut == Cut::kLlama3},  // words that are tokens are taken whole, as in Llama 3's own
        {"vocab", std::move(parts.vocab)},
        {"merges", merges_json(v, ids)}}}};
  return {json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n", settings_json(v, parts.decoder)};
}

}  // namespace rlcpp::tokenizer
