// config.json of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters) → ModelConfig.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "model/config.h"
#include "model/config_json.h"

namespace rlcpp::model {
namespace {

using nlohmann::json;

// Reads typed values of one object; every error names the file and the key.
class Reader {
 public:
  Reader(const json& object, const std::string& where, std::string prefix = {})
      : object_(object), where_(where), prefix_(std::move(prefix)) {}

  // The value of `key`, or null if it is absent or null.
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    const json* value = find(key);
    if (value == nullptr) {
      throw bad_input(fmt::format("{}: {}{} is missing", where_, prefix_, key), {},
                      "use the config.json that belongs to the model");
    }
    // Wholeness is checked before the range: a number above 2^63 is unsigned and must not wrap.
    const bool whole = value->is_number_integer();
    const bool fits = whole && (!value->is_number_unsigned() || value->get<std::uint64_t>() <= INT64_MAX);
    if (!fits || value->get<std::int64_t>() < low || value->get<std::int64_t>() > high) {
      wrong(key, *value, fmt::format("a whole number from {} to {}", low, high));
    }
    return value->get<std::int64_t>();
  }
  std::int64_t integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) const {
    return find(key) == nullptr ? fallback : integer(key, low, high);
  }

  double number_or(const char* key, double low, double high, double fallback) const {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
      wrong(key, *value, fmt::format("a number from {} to {}", low, high));
    }
    return value->get<double>();
  }

  bool boolean_or(const char* key, bool fallback) const {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) wrong(key, *value, "true or false");
    return value->get<bool>();
  }

  std::string string_or(const char* key, const std::string& fallback) const {
    const json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) wrong(key, *value, "a string");
    return value->get<std::string>();
  }

  [[noreturn]] void wrong(const char* key, const json& value, const std::string& wanted) const {
    std::string text = value.dump(-1, ' ', true);
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    throw bad_input(fmt::format("{}: {}{} is {}", where_, prefix_, key, text), "it must be " + wanted,
                    "use the config.json that belongs to the model");
  }

  const std::string& where() const { return where_; }

 private:
  const json& object_;
  const std::string& where_;
  std::string prefix_;
};

[[noreturn]] void refuse(const std::string& where, const std::string& feature) {
  throw bad_input(fmt::format("{}: {} not supported", where, feature), {},
                  "rlcpp trains dense Qwen3, Qwen2/2.5 and Llama models in f32 or bf16");
}

Family family_of(const Reader& reader) {
  std::string name;
  if (const json* list = reader.find("architectures"); list != nullptr) {
    if (!list->is_array() || list->empty() || !list->front().is_string()) {
      reader.wrong("architectures", *list, "a list of names");
    }
    name = list->front().get<std::string>();
  } else {
    // Configurations saved without weights carry only the model type.
    const std::string type = reader.string_or("model_type", "");
    name = type == "qwen3"   ? "Qwen3ForCausalLM"
           : type == "qwen2" ? "Qwen2ForCausalLM"
           : type == "llama" ? "LlamaForCausalLM"
                             : type;
  }
  for (const Family family : {Family::kQwen3, Family::kQwen2, Family::kLlama}) {
    if (name == architecture_of(family)) return family;
  }
  refuse(reader.where(), name.empty() ? "a model without architectures or model_type is"
                                      : "the architecture " + printable(name) + " is");
}

void refuse_features(const Reader& reader, std::int64_t layers) {
  const std::string& where = reader.where();
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size"}) {
    if (reader.find(key) != nullptr) refuse(where, fmt::format("a mixture of experts ({}) is", key));
  }
  for (const char* key : {"vision_config", "audio_config", "text_config"}) {
    if (reader.find(key) != nullptr) refuse(where, fmt::format("a model of images or sound ({}) is", key));
  }
  if (reader.find("quantization_config") != nullptr)
    refuse(where, "a quantised model (quantization_config) is");
  const bool windows =
      reader.boolean_or("use_sliding_window", false) && reader.find("sliding_window") != nullptr;
  if (windows && reader.integer_or("max_window_layers", 0, INT64_MAX, 0) < layers) {
    refuse(where, "attention in sliding windows (use_sliding_window) is");
  }
  if (const json* types = reader.find("layer_types"); types != nullptr) {
    if (!types->is_array()) reader.wrong("layer_types", *types, "a list of names");
    for (const json& type : *types) {
      if (type != "full_attention") {
        refuse(where, fmt::format("the layer type {} is", type.dump(-1, ' ', true).substr(0, 60)));
      }
    }
  }
  if (const std::string act = reader.string_or("hidden_act", "silu"); act != "silu" && act != "swish") {
    refuse(where, "the activation " + printable(act) + " (hidden_act) is");
  }
  if (reader.number_or("attention_dropout", 0, 1, 0) != 0) refuse(where, "dropout (attention_dropout) is");
  if (reader.number_or("partial_rotary_factor", 0, 1, 1) != 1)
    refuse(where, "partial rope (partial_rotary_factor) is");
}

// transformers: get_mscale of modeling_rope_utils.py.
double mscale(double scale, double factor) {
  return scale <= 1 ? 1.0 : 0.1 * factor * std::log(scale) + 1.0;
}

RopeConfig rope_of(const Reader& reader, std::int64_t max_position) {
  RopeConfig rope;
  rope.theta = reader.number_or("rope_theta", 1.0, 1e12, rope.theta);
  const char* key = "rope_scaling";
  const json* value = reader.find(key);
  if (value == nullptr) {
    key = "rope_parameters";
    value = reader.find(key);
  }
  if (value == nullptr) return rope;
  if (!value->is_object()) reader.wrong(key, *value, "an object");
  for (const auto& [name, nested] : value->items()) {
    if (nested.is_object())
      refuse(reader.where(), fmt::format("rope by layer type ({}.{}) is", key, printable(name)));
  }

  const Reader inner(*value, reader.where(), std::string(key) + ".");
  const std::string type = inner.string_or("rope_type", inner.string_or("type", "default"));
  rope.theta = inner.number_or("rope_theta", 1.0, 1e12, rope.theta);
  if (inner.number_or("partial_rotary_factor", 0, 1, 1) != 1) {
    refuse(reader.where(), "partial rope (partial_rotary_factor) is");
  }
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3" && type != "yarn") {
    refuse(reader.where(), fmt::format("the rope type {} is", printable(type)));
  }

  const auto required = [&](const char* name, double low, double high) {
    if (inner.find(name) == nullptr) {
      throw bad_input(fmt::format("{}: {}.{} is missing", reader.where(), key, name),
                      "rope type " + type + " needs it", "use the config.json that belongs to the model");
    }
    return inner.number_or(name, low, high, 0);
  };
  if (type == "linear") {
    rope.kind = RopeKind::kLinear;
    rope.factor = required("factor", 1e-6, 1e6);
    return rope;
  }
  const std::int64_t original =
      reader.integer_or("original_max_position_embeddings", 1, INT32_MAX, max_position);
  rope.original_max_position = inner.integer_or("original_max_position_embeddings", 1, INT32_MAX, original);
  if (type == "llama3") {
    rope.kind = RopeKind::kLlama3;
    rope.factor = required("factor", 1e-6, 1e6);
    rope.low_freq_factor = required("low_freq_factor", 1e-6, 1e6);
    rope.high_freq_factor = required("high_freq_factor", 1e-6, 1e6);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      throw bad_input(
          fmt::format("{}: {}.high_freq_factor is {}", reader.where(), key, rope.high_freq_factor),
          fmt::format("it must be above low_freq_factor, {}", rope.low_freq_factor),
          "use the config.json that belongs to the model");
    }
    return rope;
  }
  rope.kind = RopeKind::kYarn;
  const double ratio = static_cast<double>(max_position) / static_cast<double>(rope.original_max_position);
  rope.factor = inner.number_or("factor", 1e-6, 1e6, ratio);
  // Zero stands for the default there, as in transformers.
  const auto or_default = [](double found, double fallback) { return found == 0 ? fallback : found; };
  rope.beta_fast = or_default(inner.number_or("beta_fast", 0, 1e6, 0), rope.beta_fast);
  rope.beta_slow = or_default(inner.number_or("beta_slow", 0, 1e6, 0), rope.beta_slow);
  rope.truncate = inner.boolean_or("truncate", true);
  rope.attention_factor = inner.number_or("attention_factor", 1e-6, 1e6, 0);
  const double m = inner.number_or("mscale", 0, 1e6, 0);
  const double m_all = inner.number_or("mscale_all_dim", 0, 1e6, 0);
  if (rope.attention_factor == 0 && m != 0 && m_all != 0) {
    rope.attention_factor = mscale(rope.factor, m) / mscale(rope.factor, m_all);
  }
  return rope;
}

void read_biases(const Reader& reader, ModelConfig& config) {
  config.qk_norm = config.family == Family::kQwen3;
  // Qwen2 has biases on q, k and v whatever its config says; the others have them on all four products or on
  // none.
  const bool attention_bias = config.family != Family::kQwen2 && reader.boolean_or("attention_bias", false);
  config.qkv_bias = config.family == Family::kQwen2 || attention_bias;
  config.out_bias = attention_bias;
  config.mlp_bias = config.family == Family::kLlama && reader.boolean_or("mlp_bias", false);
}

void read_special_tokens(const Reader& reader, ModelConfig& config) {
  config.bos_token_id = reader.integer_or("bos_token_id", -1, INT32_MAX, -1);
  const json* eos = reader.find("eos_token_id");
  if (eos == nullptr) return;
  const auto ids = token_ids_of(*eos);
  if (!ids) reader.wrong("eos_token_id", *eos, "a token id or a list of them");
  config.eos_token_ids = *ids;
}

}  // namespace

std::optional<std::vector<std::int64_t>> token_ids_of(const json& value) {
  std::vector<std::int64_t> ids;
  for (const json& id : value.is_array() ? value : json::array({value})) {
    // An unsigned number above 2^63 comes out negative here.
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX)
      return std::nullopt;
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

ModelConfig parse_config(const std::string& json_text, const std::string& where) {
  const json root = parse_json(json_text);
  if (root.is_discarded() || !root.is_object()) {
    throw bad_input(where + ": not a JSON object", {}, "use the config.json that belongs to the model");
  }
  const Reader reader(root, where);
  ModelConfig config;
  config.family = family_of(reader);
  // The upper limits keep every product of sizes below 2^63.
  config.num_layers = reader.integer("num_hidden_layers", 1, 4096);
  refuse_features(reader, config.num_layers);
  config.vocab_size = reader.integer("vocab_size", 1, 1 << 24);
  config.hidden_size = reader.integer("hidden_size", 1, 1 << 20);
  config.intermediate_size = reader.integer("intermediate_size", 1, 1 << 22);
  config.num_heads = reader.integer("num_attention_heads", 1, 1 << 14);
  config.num_kv_heads = reader.integer_or("num_key_value_heads", 1, 1 << 14, config.num_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    throw bad_input(fmt::format("{}: num_attention_heads is {}", where, config.num_heads),
                    fmt::format("it must be a multiple of num_key_value_heads, {}", config.num_kv_heads),
                    "use the config.json that belongs to the model");
  }
  // transformers gives a Qwen3 without head_dim 128, and the others the share of a head.
  const std::int64_t share = config.family == Family::kQwen3 ? 128 : config.hidden_size / config.num_heads;
  config.head_dim = reader.integer_or("head_dim", 2, 1 << 12, share);
  if (config.head_dim < 2 || config.head_dim % 2 != 0) {
    throw bad_input(fmt::format("{}: head_dim is {}", where, config.head_dim),
                    "rotary positions need an even number",
                    "set head_dim, or hidden_size to an even multiple of num_attention_heads");
  }
  const std::int64_t usual_positions = config.family == Family::kLlama ? 2048 : 32768;
  config.max_position = reader.integer_or("max_position_embeddings", 1, INT32_MAX, usual_positions);
  config.rms_eps = static_cast<float>(reader.number_or("rms_norm_eps", 0, 1, 1e-6));
  config.tied = reader.boolean_or("tie_word_embeddings", false);
  config.initializer_range = reader.number_or("initializer_range", 0, 1, 0.02);
  read_biases(reader, config);
  config.rope = rope_of(reader, config.max_position);
  read_special_tokens(reader, config);
  return config;
}

}  // namespace rlcpp::model
