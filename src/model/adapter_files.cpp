#include "model/adapter_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/readable.h"
#include "hub/safetensors.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr double kMostRank = 1 << 20;

// A key that, when set, makes the adapter something else than B A x beside a frozen W x.
struct Foreign {
  const char* key;
  const char* what;
};
constexpr Foreign kForeign[] = {
    {"use_dora", "DoRA scales the rows of the weight"},
    {"rank_pattern", "layers have ranks of their own"},
    {"alpha_pattern", "layers have alphas of their own"},
    {"modules_to_save", "whole modules were trained beside the adapters"},
    {"fan_in_fan_out", "weights are stored transposed"},
    {"lora_bias", "B has a bias"},
    {"layers_to_transform", "only some layers have adapters"},
    {"layers_pattern", "only some layers have adapters"},
    {"layer_replication", "layers are repeated"},
    {"trainable_token_indices", "rows of the embedding were trained"},
    {"target_parameters", "parameters outside linear layers have adapters"},
    {"alora_invocation_tokens", "the adapter acts on a part of the tokens only"},
    {"use_qalora", "inputs are pooled in groups"},
    {"use_bdlora", "A or B is block-diagonal"},
    {"arrow_config", "several adapters are routed"},
    {"kasa_config", "the base weight was truncated"},
    {"velora_config", "inputs are compressed"},
    {"monteclora_config", "adapters are sampled"},
    {"megatron_config", "layers are split over devices"},
};

// Keys that do not change what an adapter computes, beside those that read_adapter_config reads.
constexpr const char* kSilent[] = {"peft_type",
                                   "r",
                                   "lora_alpha",
                                   "lora_dropout",
                                   "target_modules",
                                   "exclude_modules",
                                   "bias",
                                   "use_rslora",
                                   "init_lora_weights",
                                   "base_model_name_or_path",
                                   "task_type",
                                   "revision",
                                   "auto_mapping",
                                   "inference_mode",
                                   "peft_version",
                                   "megatron_core",
                                   "loftq_config",
                                   "eva_config",
                                   "corda_config",
                                   "lora_ga_config",
                                   "runtime_config",
                                   "ensure_weight_tying"};

// null, false, and empty lists, objects and texts are what peft writes for a feature that is not used.
bool is_set(const nlohmann::json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_array() || value.is_object()) return !value.empty();
  return !value.is_string() || !value.get_ref<const std::string&>().empty();
}

std::string text_of(const nlohmann::json& value) {
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(0, 80));
}

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& why) {
  throw bad_input(where + ": " + what, why,
                  "merge it into the model with peft (merge_and_unload), and start from that model");
}

[[noreturn]] void wrong(const std::string& where, const char* key, const nlohmann::json& value,
                        const char* must_be) {
  throw bad_input(fmt::format("{}: {} is {}", where, key, text_of(value)),
                  fmt::format("it must be {}", must_be),
                  "save the adapter again with peft's save_pretrained");
}

// The value of a key, null where it is absent or null.
nlohmann::json value_of(const nlohmann::json& root, const char* key) {
  const auto found = root.find(key);
  return found == root.end() ? nlohmann::json() : *found;
}

std::string string_of(const nlohmann::json& root, const std::string& where, const char* key,
                      const char* otherwise) {
  const nlohmann::json value = value_of(root, key);
  if (value.is_null()) return otherwise;
  if (!value.is_string()) wrong(where, key, value, "a text");
  return value.get<std::string>();
}

double number_of(const nlohmann::json& root, const std::string& where, const char* key, double otherwise) {
  const nlohmann::json value = value_of(root, key);
  if (value.is_null()) return otherwise;
  if (!value.is_number() || !std::isfinite(value.get<double>())) wrong(where, key, value, "a number");
  return value.get<double>();
}

bool flag_of(const nlohmann::json& root, const std::string& where, const char* key) {
  const nlohmann::json value = value_of(root, key);
  if (value.is_null()) return false;
  if (!value.is_boolean()) wrong(where, key, value, "true or false");
  return value.get<bool>();
}

// A key that a file of peft always has.
void require_keys(const nlohmann::json& root, const std::string& where) {
  for (const char* key : {"r", "lora_alpha", "target_modules"}) {
    if (!value_of(root, key).is_null()) continue;
    throw bad_input(fmt::format("{} does not say what {} is", where, key), "peft writes it for every adapter",
                    "save the adapter again with peft's save_pretrained");
  }
}

void refuse_foreign(const nlohmann::json& root, const std::string& where) {
  if (const std::string type = string_of(root, where, "peft_type", ""); type != "LORA") {
    refuse(where, fmt::format("peft_type \"{}\" is not supported", printable(type)),
           "adapters here are LoRA");
  }
  for (const auto& [key, value] : root.items()) {
    const auto foreign =
        std::ranges::find(kForeign, key, [](const Foreign& f) { return std::string_view(f.key); });
    if (foreign != std::end(kForeign) && is_set(value)) {
      refuse(where, fmt::format("{} is not supported", key), foreign->what);
    }
    // A number alone is the size of something that another key turns on.
    const bool known = foreign != std::end(kForeign) || std::ranges::find(kSilent, key) != std::end(kSilent);
    if (!known && is_set(value) && !value.is_number()) {
      refuse(where, fmt::format("{} is not known", printable(key)),
             "it may change what the adapter computes");
    }
  }
  if (const std::string bias = string_of(root, where, "bias", "none"); bias != "none") {
    refuse(where, fmt::format("bias \"{}\" is not supported", printable(bias)),
           "biases of the base were trained");
  }
  const nlohmann::json init = value_of(root, "init_lora_weights");
  if (init.is_null() || init.is_boolean()) return;
  if (!init.is_string()) wrong(where, "init_lora_weights", init, "true, false or a name");
  const auto name = init.get<std::string>();
  // The others start from a base that they change; an adapter saved beside it does not belong to the base on
  // disk.
  for (const char* alone : {"gaussian", "eva", "orthogonal", "true", "false"}) {
    if (name == alone) return;
  }
  refuse(where, fmt::format("init_lora_weights \"{}\" is not supported", printable(name)),
         "it changed the weights of the base, or is not known");
}

using Targets = std::array<bool, kAdapterTargets.size()>;

std::size_t target_named(const std::string& name, bool whole) {
  const auto found = std::ranges::find_if(kAdapterTargets, [&](const char* target) {
    return name == target || (!whole && name.ends_with(std::string(".") + target));
  });
  return static_cast<std::size_t>(found - kAdapterTargets.begin());
}

// exclude_modules takes layers out of target_modules. Names of linear layers do so in every block, as targets
// here are; patterns, and places in some blocks, cannot be said.
void exclude(const nlohmann::json& value, const std::string& where, Targets& targets) {
  if (!is_set(value)) return;
  if (!value.is_array())
    refuse(where, "exclude_modules " + text_of(value) + " is not supported", "it is no list of layers");
  for (const nlohmann::json& entry : value) {
    if (!entry.is_string()) wrong(where, "exclude_modules", value, "a list of layers");
    const auto name = entry.get<std::string>();
    if (const std::size_t target = target_named(name, true); target < targets.size()) {
      targets[target] = false;
    } else if (target_named(name, false) < targets.size()) {
      refuse(where, "exclude_modules names " + text_of(entry), "only some blocks have an adapter there");
    } else if (name != "lm_head" && name != "embed_tokens") {  // which have none here
      refuse(where, "exclude_modules names " + text_of(entry), "what it takes out is not known");
    }
  }
}

// The places of names like "q_proj" or "model.layers.0.self_attn.q_proj".
Targets targets_of(const nlohmann::json& root, const std::string& where) {
  const nlohmann::json value = value_of(root, "target_modules");
  Targets out = {};
  if (value.is_string() && value.get<std::string>() == "all-linear") {
    out.fill(true);
  } else if (!value.is_array() || value.empty()) {
    throw bad_input(where + ": target_modules is " + text_of(value), "it must be a list of layers",
                    "name the layers in a list: " + fmt::format("{}", fmt::join(kAdapterTargets, ", ")));
  } else {
    for (const nlohmann::json& entry : value) {
      const std::size_t target =
          target_named(entry.is_string() ? entry.get<std::string>() : std::string(), false);
      if (target == out.size()) {
        refuse(where, "target_modules names " + text_of(entry),
               fmt::format("adapters are possible on {}", fmt::join(kAdapterTargets, ", ")));
      }
      out[target] = true;
    }
  }
  exclude(value_of(root, "exclude_modules"), where, out);
  return out;
}

std::vector<std::string> names_of(const Targets& targets) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i]) names.emplace_back(kAdapterTargets[i]);
  }
  return names;
}

std::string config_json(const AdapterConfig& adapters) {
  nlohmann::ordered_json json;
  json["peft_type"] = "LORA";
  json["task_type"] = "CAUSAL_LM";
  json["base_model_name_or_path"] = adapters.base;
  json["r"] = adapters.rank;
  if (adapters.alpha == std::floor(adapters.alpha) && std::abs(adapters.alpha) < 1e9) {
    json["lora_alpha"] = static_cast<std::int64_t>(adapters.alpha);  // an integer, as peft declares it
  } else {
    json["lora_alpha"] = adapters.alpha;
  }
  json["lora_dropout"] = adapters.dropout;
  json["target_modules"] = names_of(adapters.targets);
  json["bias"] = "none";
  json["fan_in_fan_out"] = false;
  json["use_rslora"] = false;
  json["use_dora"] = false;
  json["init_lora_weights"] = true;
  json["inference_mode"] = true;
  json["modules_to_save"] = nullptr;
  json["rank_pattern"] = nlohmann::ordered_json::object();
  json["alpha_pattern"] = nlohmann::ordered_json::object();
  json["layers_to_transform"] = nullptr;
  json["layers_pattern"] = nullptr;
  return json.dump(2) + "\n";
}

}  // namespace

AdapterConfig read_adapter_config(const std::string& dir) {
  const std::string where = dir + "/" + kConfigFile;
  require_readable_directory(dir, "model.lora.name");
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(where, ignored)) {
    throw bad_input(dir + " is not a directory of adapters", fmt::format("there is no {}", kConfigFile),
                    "give the directory that save_pretrained of peft, or rlcpp, wrote");
  }
  const nlohmann::json root = parse_json(durable::read_file(where));
  if (root.is_discarded() || !root.is_object()) {
    throw bad_input(where + ": not a JSON object", {}, "save the adapter again");
  }
  refuse_foreign(root, where);
  require_keys(root, where);
  AdapterConfig out;
  const nlohmann::json rank = value_of(root, "r");
  const double number = rank.is_number() ? rank.get<double>() : 0;
  if (!rank.is_number_integer() || number < 1 || number > kMostRank)
    wrong(where, "r", rank, "a whole number from 1 to 1048576");
  out.rank = rank.get<std::int64_t>();
  out.alpha = number_of(root, where, "lora_alpha", 0);
  out.dropout = number_of(root, where, "lora_dropout", 0);
  if (out.dropout < 0 || out.dropout >= 1)
    wrong(where, "lora_dropout", value_of(root, "lora_dropout"), "at least 0 and below 1");
  out.base = string_of(root, where, "base_model_name_or_path", "");
  out.targets = targets_of(root, where);
  if (flag_of(root, where, "use_rslora")) out.alpha *= std::sqrt(static_cast<double>(out.rank));
  return out;
}

void require_adapter(const std::string& dir, const AdapterConfig& run) {
  const AdapterConfig stored = read_adapter_config(dir);
  const bool same = stored.rank == run.rank && stored.targets == run.targets &&
                    std::abs(stored.alpha - run.alpha) <= 1e-6 * std::abs(stored.alpha);
  if (same) return;
  throw bad_input(
      dir + " is another adapter than model.lora describes",
      fmt::format("it has rank {}, alpha {} and {}; the run has rank {}, alpha {} and {}", stored.rank,
                  stored.alpha, fmt::join(names_of(stored.targets), ","), run.rank, run.alpha,
                  fmt::join(names_of(run.targets), ",")),
      fmt::format("set model.lora.rank = {}, model.lora.alpha = {} and model.lora.target_modules = [{}]",
                  stored.rank, stored.alpha, fmt::join(names_of(stored.targets), ", ")));
}

void load_adapter(const ModelConfig& config, const std::string& dir,
                  const std::vector<LayerAdapters>& masters) {
  require_adapter(dir, config.adapters);
  const std::string path = dir + "/" + kWeightsFile;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw bad_input(dir + " has no weights that can be read", fmt::format("there is no {}", kWeightsFile),
                    "save the adapter with peft's save_pretrained, which writes safetensors");
  }
  const hub::SafetensorsFile file(path);
  const std::vector<ParameterInfo> list = adapter_list(config);
  const std::vector<Tensor> flat = flat_adapters(config, masters);
  RLCPP_CHECK(list.size() == flat.size());
  std::set<std::string> known;
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      known.insert(slice.name);
      const auto found = file.tensors().find(slice.name);
      if (found == file.tensors().end()) {
        throw bad_input(fmt::format("{}: tensor '{}' is missing", path, slice.name),
                        "every layer of the model has an adapter on each of its targets",
                        "check that the adapter belongs to this model");
      }
      if (found->second.shape != slice.shape) {
        throw bad_input(fmt::format("{}: tensor '{}' has the shape [{}]", path, slice.name,
                                    fmt::join(found->second.shape, ", ")),
                        fmt::format("the model and its rank ask for [{}]", fmt::join(slice.shape, ", ")),
                        "check that the adapter belongs to this model");
      }
      HostFloats host(flat[p].rows(slice.row, slice.shape[0]), false);
      file.read_f32(found->second, host.values());
      if (!std::ranges::all_of(host.values(), [](float value) { return std::isfinite(value); })) {
        throw bad_input(fmt::format("{}: tensor '{}' holds numbers that are not finite", path, slice.name),
                        "such an adapter cannot be trained", "use an older one, or download the file again");
      }
      host.store();
    }
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (known.contains(name)) continue;
    throw bad_input(fmt::format("{}: tensor '{}' has no place in the model", path, printable(name)),
                    "adapter_config.json does not name it as a target",
                    "check that the two files belong together");
  }
}

void add_adapter_files(hub::DirectoryImage& out, const std::string& prefix, const ModelConfig& config,
                       const std::vector<LayerAdapters>& masters) {
  out.add(prefix + kConfigFile, config_json(config.adapters));
  const std::vector<ParameterInfo> list = adapter_list(config);
  const std::vector<Tensor> flat = flat_adapters(config, masters);
  RLCPP_CHECK(list.size() == flat.size());
  std::vector<hub::ImagePart> parts;
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      hub::ImagePart& part = parts.emplace_back();
      part.stored = {slice.name, DType::kF32, slice.shape};
      part.make = [values = to_floats(flat[p].rows(slice.row, slice.shape[0]))] { return values; };
    }
  }
  out.add(prefix + kWeightsFile, hub::TensorImage(std::move(parts), {{"format", "pt"}}));
}

}  // namespace rlcpp::model
