#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "base/durable.h"
#include "base/error.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/definition.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/settings.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using IdMap = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

std::string normalize_all(std::string_view text, const std::vector<Normalization>& forms) {
  std::string out(text);
  for (const Normalization form : forms) out = normalize(out, form);
  return out;
}

// Tokens of tokenizer_config.json's added_tokens_decoder that tokenizer.json lacks are added, as transformers
// does.
void merge_added_tokens(Definition& definition, const Settings& settings) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : definition.added_tokens) known.insert(token.content);
  for (const AddedToken& token : settings.added_tokens) {
    if (known.insert(token.content).second) definition.added_tokens.push_back(token);
  }
  // So does it with the tokens of roles that are plain words of the vocabulary: they become special.
  const std::string* roles[] = {&settings.bos_token, &settings.eos_token, &settings.unk_token,
                                &settings.pad_token};
  for (const std::string* role : roles) {
    if (role->empty() || known.contains(*role)) continue;
    const auto word = std::find_if(definition.vocab.begin(), definition.vocab.end(),
                                   [&](const auto& entry) { return entry.first == *role; });
    if (word == definition.vocab.end()) continue;
    known.insert(*role);
    AddedToken token;
    token.id = word->second;
    token.content = *role;
    token.special = true;
    definition.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

struct Tokenizer::State {
  State(const Definition& definition, Settings roles, std::string from);
  std::int32_t role(const std::string& token, const char* key) const;
  // The added tokens of a text and the normalised stretches between them, in their order.
  template <typename OnToken, typename OnText>
  void cut(std::string_view text, bool parse_special, OnToken on_token, OnText on_text) const;
  void check_id(const Definition& definition, const AddedToken& token, std::int32_t id, bool fresh);

  std::string where;
  std::string directory;
  Settings settings;
  std::vector<Normalization> normalizers;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokenMatcher raw_matcher;         // added tokens looked for in the text as it comes
  AddedTokenMatcher normalized_matcher;  // and in the normalised text
  std::vector<TemplatePiece> post_template;
  IdMap ids;
  std::vector<std::string> bytes;  // by id; what decode() joins
  std::vector<bool> special;
  std::int32_t bos = -1, eos = -1, pad = -1;
  bool loses = false;           // a byte that UTF-8 has stands for no token
  std::int32_t next_added = 0;  // id that HF would give the next added token which the vocabulary lacks
};

template <typename OnToken, typename OnText>
void Tokenizer::State::cut(std::string_view text, bool parse_special, OnToken on_token,
                           OnText on_text) const {
  std::vector<Piece> pieces;
  std::vector<Piece> inner;
  raw_matcher.split(text, parse_special, pieces);
  for (const Piece& piece : pieces) {
    if (piece.id >= 0) {
      on_token(piece.id);
      continue;
    }
    std::string_view stretch = text.substr(piece.begin, piece.end - piece.begin);
    std::string normalized;
    if (!normalizers.empty()) {
      normalized = normalize_all(stretch, normalizers);
      stretch = normalized;
    }
    inner.clear();
    normalized_matcher.split(stretch, parse_special, inner);
    for (const Piece& part : inner) {
      if (part.id >= 0) {
        on_token(part.id);
      } else {
        on_text(stretch.substr(part.begin, part.end - part.begin));
      }
    }
  }
}

Tokenizer::State::State(const Definition& definition, Settings roles, std::string from)
    : where(definition.where),
      directory(std::move(from)),
      settings(std::move(roles)),
      normalizers(definition.normalizers),
      pre_tokenizer(definition.steps, definition.where),
      bpe(definition),
      post_template(definition.post_template) {
  // 0xc0, 0xc1 and 0xf5 on are in no text.
  for (int byte = 0; byte < 0xf5; ++byte)
    loses = loses || (byte != 0xc0 && byte != 0xc1 && bpe.loses(static_cast<std::uint8_t>(byte)));
  std::int32_t largest = -1;
  for (const auto& [token, id] : definition.vocab) largest = std::max(largest, id);
  for (const AddedToken& token : definition.added_tokens) largest = std::max(largest, token.id);
  constexpr std::int32_t kLargestId =
      1 << 24;  // far beyond any vocabulary; a damaged id must not take all memory
  if (largest > kLargestId) {
    throw bad_input(fmt::format("{}: the token id {} is absurd", where, largest),
                    fmt::format("ids up to {} are accepted", kLargestId));
  }
  bytes.resize(static_cast<std::size_t>(largest + 1));
  special.resize(bytes.size());
  std::vector<std::string_view> names(bytes.size());
  ids.reserve(definition.vocab.size() + definition.added_tokens.size());
  // As HF's ByteLevel decoder: a token with a character outside the alphabet stands for its own UTF-8.
  const auto bytes_of = [](const std::string& token) { return from_alphabet(token).value_or(token); };
  for (const auto& [token, id] : definition.vocab) {
    ids.emplace(token, id);
    names[static_cast<std::size_t>(id)] = token;
    bytes[static_cast<std::size_t>(id)] = bytes_of(token);
  }
  std::vector<const AddedToken*> ordered;  // special ones first: HF looks for them in this order
  for (const AddedToken& token : definition.added_tokens) {
    const auto index = static_cast<std::size_t>(token.id);
    const auto [known, fresh] = ids.emplace(token.content, token.id);
    if (!fresh && known->second != token.id) {
      throw bad_input(fmt::format("{}: the token {} has two ids", where, token.content),
                      fmt::format("they are {} and {}", known->second, token.id));
    }
    if (!names[index].empty() && names[index] != token.content) {
      throw bad_input(fmt::format("{}: two tokens have the id {}", where, token.id),
                      fmt::format("they are {} and {}", names[index], token.content));
    }
    check_id(definition, token, known->second, fresh);
    names[index] = token.content;
    // HF decodes a token that is looked for in normalised text as what it looks for.
    bytes[index] = bytes_of(token.normalized ? normalize_all(token.content, normalizers) : token.content);
    special[index] = special[index] || token.special;
    ordered.push_back(&token);
  }
  std::stable_partition(ordered.begin(), ordered.end(),
                        [](const AddedToken* token) { return token->special; });
  for (const AddedToken* token : ordered) {
    if (token->normalized) {
      normalized_matcher.add(*token, normalize_all(token->content, normalizers));
    } else {
      raw_matcher.add(*token, token->content);
    }
  }
  for (const TemplatePiece& piece : post_template) {
    const auto index = static_cast<std::size_t>(piece.id);
    if (piece.id >= 0 && (piece.id > largest || names[index].empty())) {
      throw bad_input(
          fmt::format("{}: post_processor adds the token {}, which the vocabulary lacks", where, piece.id));
    }
  }
  bos = role(settings.bos_token, "bos_token");
  eos = role(settings.eos_token, "eos_token");
  pad = role(settings.pad_token, "pad_token");
}

// HF numbers added tokens by itself, from the size of the vocabulary on, whatever the file says; a file with
// other ids would mean other ids there than here.
void Tokenizer::State::check_id(const Definition& definition, const AddedToken& token, std::int32_t id,
                                bool fresh) {
  const auto size = static_cast<std::int32_t>(definition.vocab.size());
  if (fresh && id != std::max(next_added, size)) {
    throw bad_input(fmt::format("{}: the added token {} has the id {}", where, token.content, id),
                    fmt::format("the next free id is {}, which HF would give it", std::max(next_added, size)),
                    "number the added tokens without gaps behind the vocabulary");
  }
  next_added = std::max(next_added, id + 1);
}

std::int32_t Tokenizer::State::role(const std::string& token, const char* key) const {
  if (token.empty()) return -1;
  const auto found = ids.find(token);
  if (found == ids.end()) {
    throw bad_input(fmt::format("{}: {} is {}, which {} lacks", settings.where, key, token, where), {},
                    "name a token of the vocabulary, or take both files from the same model");
  }
  return found->second;
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::string& path) {
  namespace fs = std::filesystem;
  std::string file = path;
  Settings settings;
  std::string directory = fs::path(path).parent_path().string();
  if (fs::is_directory(path)) {
    directory = path;
    file = (fs::path(path) / "tokenizer.json").string();
    settings = read_settings(path);
  }
  if (!fs::is_regular_file(file)) {
    throw bad_input(fmt::format("there is no tokenizer at {}", path), fmt::format("{} does not exist", file),
                    "give a tokenizer.json or the directory that holds it");
  }
  Definition definition = parse_definition(durable::read_file(file), file);
  merge_added_tokens(definition, settings);
  return Tokenizer(std::make_unique<State>(definition, std::move(settings), std::move(directory)));
}

Tokenizer Tokenizer::from_json(const std::string& tokenizer_json, const std::string& where) {
  return Tokenizer(
      std::make_unique<State>(parse_definition(tokenizer_json, where), Settings{}, std::string()));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool parse_special,
                                            bool add_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = lossy_utf8(text);
    text = repaired;
  }
  std::vector<std::int32_t> out;
  state_->cut(
      text, parse_special, [&](std::int32_t id) { out.push_back(id); },
      [&](std::string_view normalized) {
        state_->pre_tokenizer.split(normalized,
                                    [&](std::string_view word) { state_->bpe.encode_word(word, out); });
      });
  if (!add_special || state_->post_template.empty()) return out;
  std::vector<std::int32_t> framed;
  for (const TemplatePiece& piece : state_->post_template) {
    if (piece.id >= 0) {
      framed.push_back(piece.id);
    } else {
      framed.insert(framed.end(), out.begin(), out.end());
    }
  }
  return framed;
}

std::size_t Tokenizer::lost_bytes(std::string_view text) const {
  if (!state_->loses) return 0;
  const std::string repaired = lossy_utf8(text);
  std::size_t lost = 0;
  state_->cut(
      repaired, true, [](std::int32_t) {},
      [&](std::string_view normalized) {
        for (const char c : normalized) lost += state_->bpe.loses(static_cast<std::uint8_t>(c)) ? 1 : 0;
      });
  return lost;
}

bool Tokenizer::may_lose_bytes() const {
  return state_->loses;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    if (skip_special && state_->special[static_cast<std::size_t>(id)]) continue;
    bytes += state_->bytes[static_cast<std::size_t>(id)];
  }
  return lossy_utf8(bytes);
}

std::string Tokenizer::token_bytes(std::int32_t id) const {
  return id < 0 || id >= vocab_size() ? std::string() : state_->bytes[static_cast<std::size_t>(id)];
}

std::int32_t Tokenizer::vocab_size() const {
  return static_cast<std::int32_t>(state_->bytes.size());
}

std::int32_t Tokenizer::id_of(std::string_view token) const {
  const auto found = state_->ids.find(token);
  return found == state_->ids.end() ? -1 : found->second;
}

bool Tokenizer::is_special(std::int32_t id) const {
  return id >= 0 && id < vocab_size() && state_->special[static_cast<std::size_t>(id)];
}

std::int32_t Tokenizer::bos_id() const {
  return state_->bos;
}
std::int32_t Tokenizer::eos_id() const {
  return state_->eos;
}
std::int32_t Tokenizer::pad_id() const {
  return state_->pad;
}
const std::string& Tokenizer::bos_token() const {
  return state_->settings.bos_token;
}
const std::string& Tokenizer::eos_token() const {
  return state_->settings.eos_token;
}
const std::string& Tokenizer::pad_token() const {
  return state_->settings.pad_token;
}
const std::string& Tokenizer::chat_template() const {
  return state_->settings.chat_template;
}
const std::string& Tokenizer::directory() const {
  return state_->directory;
}

}  // namespace rlcpp::tokenizer
