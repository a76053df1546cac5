#include "tokenizer/definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/json_text.h"
#include "tokenizer/unicode_tables.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using Json = nlohmann::json;

// A part of the file together with its place, so that every error names it.
class Part {
 public:
  Part(const Json& json, std::string file, std::string path)
      : json_(json), file_(std::move(file)), path_(std::move(path)) {}

  const Json& json() const { return json_; }
  bool is_null() const { return json_.is_null(); }

  Part at(const std::string& key) const {
    static const Json null;
    const auto found = json_.is_object() ? json_.find(key) : json_.end();
    return Part(json_.is_object() && found != json_.end() ? *found : null, file_,
                path_.empty() ? key : path_ + "." + key);
  }
  std::vector<Part> items() const {
    if (!json_.is_array()) throw wrong("a list");
    std::vector<Part> parts;
    for (std::size_t i = 0; i < json_.size(); ++i) {
      parts.emplace_back(json_[i], file_, fmt::format("{}[{}]", path_, i));
    }
    return parts;
  }
  bool flag(const std::string& key, bool fallback) const {
    const Part part = at(key);
    if (part.is_null()) return fallback;
    if (!part.json_.is_boolean()) throw part.wrong("true or false");
    return part.json_.get<bool>();
  }
  std::string text(const std::string& key) const {
    const Part part = at(key);
    if (!part.json_.is_string()) throw part.wrong("a string");
    return part.json_.get<std::string>();
  }
  // The string, or empty for null.
  std::string optional_text(const std::string& key) const {
    return at(key).is_null() ? std::string() : text(key);
  }
  std::int32_t id(const std::string& key) const {
    const Part part = at(key);
    constexpr std::int64_t kLargest = 1 << 30;
    if (!part.json_.is_number_integer() || part.json_.get<std::int64_t>() < 0 ||
        part.json_.get<std::int64_t>() > kLargest) {
      throw part.wrong("a token id");
    }
    return part.json_.get<std::int32_t>();
  }
  std::string type() const { return text("type"); }

  Error wrong(const std::string& expected) const {
    std::string found = json_.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (found.size() > 60) found = found.substr(0, 57) + "...";
    return bad_input(fmt::format("{}: {} must be {}", file_, path_, expected),
                     fmt::format("it is {}", found));
  }
  Error unsupported(const std::string& what) const {
    return bad_input(fmt::format("{}: {} {} is not supported", file_, path_, what),
                     "only byte-level BPE tokenizers are (GPT-2, Llama 3, Qwen, SmolLM and the like)");
  }
  const std::string& file() const { return file_; }
  const std::string& path() const { return path_; }

 private:
  const Json& json_;
  std::string file_;
  std::string path_;
};

void read_normalizer(const Part& part, std::vector<Normalization>& out) {
  if (part.is_null()) return;
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.at("normalizers").items()) read_normalizer(inner, out);
  } else if (type == "NFC") {
    out.push_back(Normalization::kNfc);
  } else if (type == "NFD") {
    out.push_back(Normalization::kNfd);
  } else if (type == "NFKC") {
    out.push_back(Normalization::kNfkc);
  } else if (type == "NFKD") {
    out.push_back(Normalization::kNfkd);
  } else {
    throw part.unsupported(fmt::format("of type {}", type));
  }
}

std::string escape_regex(std::string_view literal) {
  std::string out;
  for (const char c : literal) {
    if (std::string_view("\\.^$|()[]{}*+?#-&~ ").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

std::string digits_pattern() {
  std::string pattern = "[\\p{N}";
  for (const CodePointRange& range : further_digits()) {
    append_utf8(pattern, range.first);
    pattern += "-";
    append_utf8(pattern, range.last);
  }
  return pattern + "]";
}

SplitBehaviour behaviour_of(const Part& part) {
  const std::string name = part.text("behavior");
  if (name == "Removed") return SplitBehaviour::kRemoved;
  if (name == "Isolated") return SplitBehaviour::kIsolated;
  if (name == "Contiguous") return SplitBehaviour::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehaviour::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehaviour::kMergedWithNext;
  throw part.unsupported(fmt::format("with behavior {}", name));
}

// Returns true once ByteLevel has been read: nothing may come after it, since it would see the byte alphabet.
bool read_pre_tokenizer(const Part& part, std::vector<SplitStep>& out, bool after_bytes) {
  if (part.is_null()) return after_bytes;
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.at("pretokenizers").items()) {
      after_bytes = read_pre_tokenizer(inner, out, after_bytes);
    }
    return after_bytes;
  }
  if (after_bytes) throw part.unsupported(fmt::format("of type {} after ByteLevel", type));
  SplitStep step;
  if (type == "ByteLevel") {
    step.add_prefix_space = part.flag("add_prefix_space", true);
    if (part.flag("use_regex", true)) step.pattern = kGpt2Pattern;
    if (step.add_prefix_space || !step.pattern.empty()) out.push_back(step);
    return true;
  }
  if (type == "Split") {
    const Part pattern = part.at("pattern");
    step.pattern =
        pattern.at("Regex").is_null() ? escape_regex(pattern.text("String")) : pattern.text("Regex");
    if (step.pattern.size() > 4096) throw pattern.unsupported("of more than 4096 bytes");
    step.behaviour = behaviour_of(part);
    step.invert = part.flag("invert", false);
  } else if (type == "Digits") {
    step.pattern = digits_pattern();
    step.behaviour =
        part.flag("individual_digits", false) ? SplitBehaviour::kIsolated : SplitBehaviour::kContiguous;
  } else {
    throw part.unsupported(fmt::format("of type {}", type));
  }
  out.push_back(step);
  return false;
}

void read_post_processor(const Part& part, std::vector<TemplatePiece>& out) {
  if (part.is_null()) return;
  const std::string type = part.type();
  if (type == "Sequence") {
    for (const Part& inner : part.at("processors").items()) read_post_processor(inner, out);
  } else if (type == "TemplateProcessing") {
    if (!out.empty()) throw part.unsupported("a second time");
    int texts = 0;
    for (const Part& piece : part.at("single").items()) {
      if (!piece.at("Sequence").is_null()) {
        out.push_back({-1});
        ++texts;
        continue;
      }
      const std::string name = piece.at("SpecialToken").text("id");
      const Part token = part.at("special_tokens").at(name);
      if (token.is_null()) {
        throw bad_input(fmt::format("{}: {} uses the token {}, which its special_tokens lack", part.file(),
                                    piece.path(), name));
      }
      for (const Part& id : token.at("ids").items()) {
        if (!id.json().is_number_unsigned()) throw id.wrong("a token id");
        out.push_back({id.json().get<std::int32_t>()});
      }
    }
    if (texts != 1) throw part.at("single").unsupported(fmt::format("with the text {} times", texts));
  } else if (type != "ByteLevel") {
    throw part.unsupported(fmt::format("of type {}", type));
  }
}

void check_decoder(const Part& part) {
  if (part.is_null()) throw part.unsupported("null");
  const std::string type = part.type();
  if (type == "Sequence") {
    const std::vector<Part> inner = part.at("decoders").items();
    if (inner.size() != 1) throw part.unsupported(fmt::format("of {} steps", inner.size()));
    check_decoder(inner[0]);
  } else if (type != "ByteLevel") {
    throw part.unsupported(fmt::format("of type {}", type));
  }
}

void read_vocab(const Part& part, Definition& out) {
  if (!part.json().is_object()) throw part.wrong("a table of tokens and ids");
  std::map<std::int32_t, std::string_view> by_id;
  out.vocab.reserve(part.json().size());
  for (const auto& [token, id] : part.json().items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > (1u << 30)) {
      throw bad_input(fmt::format("{}: {} gives the token {} no valid id", part.file(), part.path(), token),
                      fmt::format("it is {}", id.dump()));
    }
    out.vocab.emplace_back(token, id.get<std::int32_t>());
  }
  for (const auto& [token, id] : out.vocab) {
    const auto [other, fresh] = by_id.emplace(id, token);
    if (!fresh) {
      throw bad_input(fmt::format("{}: {} gives two tokens the id {}", part.file(), part.path(), id),
                      fmt::format("they are {} and {}", other->second, token));
    }
  }
}

void read_merges(const Part& part, Definition& out) {
  if (!part.json().is_array()) throw part.wrong("a list");
  out.merges.reserve(part.json().size());
  for (std::size_t i = 0; i < part.json().size(); ++i) {
    const Json& merge = part.json()[i];
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        out.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
        continue;
      }
    }
    throw Part(merge, part.file(), fmt::format("{}[{}]", part.path(), i)).wrong("two tokens");
  }
}

void read_model(const Part& part, Definition& out) {
  if (!part.json().is_object()) throw part.wrong("a table");
  // Very old files have no type; HF then tries BPE first.
  if (!part.at("type").is_null() && part.type() != "BPE")
    throw part.unsupported(fmt::format("of type {}", part.type()));
  const Json& dropout = part.at("dropout").json();
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0.0)) {
    throw part.at("dropout").unsupported(dropout.dump());
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string value = part.optional_text(key);
    if (!value.empty()) throw part.at(key).unsupported(fmt::format("\"{}\"", value));
  }
  if (part.flag("byte_fallback", false)) throw part.at("byte_fallback").unsupported("true");
  out.unk_token = part.optional_text("unk_token");
  out.fuse_unk = part.flag("fuse_unk", false);
  out.ignore_merges = part.flag("ignore_merges", false);
  read_vocab(part.at("vocab"), out);
  read_merges(part.at("merges"), out);
}

}  // namespace

Definition parse_definition(const std::string& text, const std::string& where) {
  if (const int depth = json_nesting(text); depth > kDeepestJson) {
    throw bad_input(fmt::format("{}: this is no tokenizer.json", where),
                    fmt::format("it is nested {} levels deep", depth), "fetch the file again");
  }
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t end = std::min(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    throw bad_input(fmt::format("{}:{}: this is not valid JSON", where, line),
                    fmt::format("reading stopped at byte {} of {}", error.byte, text.size()),
                    "fetch the file again; it may be truncated, or a Git LFS pointer");
  } catch (const Json::exception& error) {  // 1e999
    throw bad_input(fmt::format("{}: a number is beyond what JSON's readers hold", where), error.what());
  }
  const Part root(json, where, "");
  if (!json.is_object())
    throw bad_input(fmt::format("{}: this is not a tokenizer.json", where), "it is no table");
  Definition out;
  out.where = where;
  // truncation and padding are settings of a call, which transformers resets before each one; they are not
  // read.
  read_model(root.at("model"), out);
  read_normalizer(root.at("normalizer"), out.normalizers);
  if (!read_pre_tokenizer(root.at("pre_tokenizer"), out.steps, false)) {
    throw root.at("pre_tokenizer").unsupported("without ByteLevel");
  }
  read_post_processor(root.at("post_processor"), out.post_template);
  check_decoder(root.at("decoder"));
  if (!root.at("added_tokens").is_null()) {
    for (const Part& part : root.at("added_tokens").items()) {
      AddedToken token;
      token.id = part.id("id");
      token.content = part.text("content");
      if (token.content.empty()) throw part.at("content").wrong("not empty");
      token.special = part.flag("special", false);
      token.lstrip = part.flag("lstrip", false);
      token.rstrip = part.flag("rstrip", false);
      token.single_word = part.flag("single_word", false);
      token.normalized = part.flag("normalized", !token.special);
      out.added_tokens.push_back(std::move(token));
    }
  }
  return out;
}

}  // namespace rlcpp::tokenizer
