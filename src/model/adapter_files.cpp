#include "model/adapter_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "hub/safetensors.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";

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

// null, false, and empty lists, objects and texts are what peft writes for a feature that is not used.
bool is_set(const nlohmann::json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_array() || value.is_object()) return !value.empty();
  return !value.is_string() || !value.get_ref<const std::string&>().empty();
}

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& why) {
  throw bad_input(where + ": " + what, why,
                  "merge it into the model with peft (merge_and_unload), and start from that model");
}

void refuse_foreign(const nlohmann::json& root, const std::string& where) {
  if (const std::string type = root.value("peft_type", ""); type != "LORA") {
    refuse(where, fmt::format("peft_type \"{}\" is not supported", printable(type)),
           "adapters here are LoRA");
  }
  for (const Foreign& foreign : kForeign) {
    if (root.contains(foreign.key) && is_set(root.at(foreign.key))) {
      refuse(where, fmt::format("{} is not supported", foreign.key), foreign.what);
    }
  }
  if (root.contains("bias") && root.at("bias") != "none") {
    refuse(where, "bias " + root.at("bias").dump() + " is not supported", "biases of the base were trained");
  }
  // These start from a base that they change; an adapter saved beside it does not belong to the base on disk.
  const auto init = root.find("init_lora_weights");
  if (init == root.end() || !init->is_string()) return;
  const auto name = init->get<std::string>();
  for (const char* changes : {"pissa", "olora", "loftq", "corda", "lora_ga"}) {
    if (!name.starts_with(changes)) continue;
    refuse(where, fmt::format("init_lora_weights \"{}\" is not supported", printable(name)),
           "it changed the weights of the base");
  }
}

// The places of names like "q_proj" or "model.layers.0.self_attn.q_proj".
std::array<bool, kAdapterTargets.size()> targets_of(const nlohmann::json& value, const std::string& where) {
  std::array<bool, kAdapterTargets.size()> out = {};
  if (value.is_string() && value.get<std::string>() == "all-linear") {
    out.fill(true);
    return out;
  }
  if (!value.is_array() || value.empty()) {
    throw bad_input(where + ": target_modules is " + value.dump().substr(0, 80),
                    "it must be a list of layers",
                    "name the layers in a list: " + fmt::format("{}", fmt::join(kAdapterTargets, ", ")));
  }
  for (const nlohmann::json& entry : value) {
    const std::string name = entry.is_string() ? entry.get<std::string>() : std::string();
    const auto found = std::ranges::find_if(kAdapterTargets, [&](const char* target) {
      return name == target || name.ends_with(std::string(".") + target);
    });
    if (found == kAdapterTargets.end()) {
      refuse(where, "target_modules names " + printable(entry.dump()),
             fmt::format("adapters are possible on {}", fmt::join(kAdapterTargets, ", ")));
    }
    out[static_cast<std::size_t>(found - kAdapterTargets.begin())] = true;
  }
  return out;
}

std::vector<std::string> names_of(const std::array<bool, kAdapterTargets.size()>& targets) {
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
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(where, ignored)) {
    throw bad_input(dir + " is not a directory of adapters", fmt::format("there is no {}", kConfigFile),
                    "give the directory that save_pretrained of peft, or rlcpp, wrote");
  }
  const nlohmann::json root = nlohmann::json::parse(durable::read_file(where), nullptr, false);
  if (root.is_discarded() || !root.is_object()) {
    throw bad_input(where + ": not a JSON object", {}, "save the adapter again");
  }
  try {
    refuse_foreign(root, where);
    AdapterConfig out;
    out.rank = root.at("r").get<std::int64_t>();
    out.alpha = root.at("lora_alpha").get<double>();
    out.dropout = root.value("lora_dropout", 0.0);
    if (root.contains("base_model_name_or_path") && root.at("base_model_name_or_path").is_string()) {
      out.base = root.at("base_model_name_or_path").get<std::string>();
    }
    out.targets = targets_of(root.at("target_modules"), where);
    if (out.rank < 1 || !std::isfinite(out.alpha)) {
      throw bad_input(fmt::format("{}: r is {} and lora_alpha {}", where, out.rank, out.alpha),
                      "a rank is at least 1, and alpha a number", "save the adapter again");
    }
    if (root.value("use_rslora", false)) out.alpha *= std::sqrt(static_cast<double>(out.rank));
    return out;
  } catch (const nlohmann::json::exception& e) {
    throw bad_input(where + " is not what peft writes", e.what(), "save the adapter again");
  }
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
