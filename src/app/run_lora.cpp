#include "app/run_lora.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/run_model.h"
#include "base/error.h"
#include "model/adapter_files.h"

namespace rlcpp::app {

model::AdapterConfig adapters_of(const LoraSection& section, const std::string& base) {
  model::AdapterConfig out;
  out.rank = section.rank;
  out.alpha = section.alpha;
  out.dropout = section.dropout;
  out.base = base;
  for (const std::string& name : section.target_modules) {
    if (name == "experts") continue;  // in the reference's default list; the models here have none
    const auto found = std::ranges::find(model::kAdapterTargets, name);
    if (found == model::kAdapterTargets.end()) {
      if (name.find_first_of("*.[](){}|^$+?\\") != std::string::npos) {
        throw bad_input(fmt::format("model.lora.target_modules has the pattern \"{}\"", name),
                        "patterns are not supported: layers are given by name",
                        fmt::format("name some of: {}", fmt::join(model::kAdapterTargets, ", ")));
      }
      throw bad_input(
          fmt::format("model.lora.target_modules names \"{}\", which cannot have an adapter", name),
          "adapters are beside the linear layers of a block",
          fmt::format("name some of: {}", fmt::join(model::kAdapterTargets, ", ")));
    }
    out.targets[static_cast<std::size_t>(found - model::kAdapterTargets.begin())] = true;
  }
  if (std::ranges::count(out.targets, true) == 0) {
    throw bad_input("model.lora.target_modules is empty", "nothing would be trained",
                    fmt::format("name some of: {}", fmt::join(model::kAdapterTargets, ", ")));
  }
  if (!section.modules_to_save.empty()) {
    throw bad_input(fmt::format("model.lora.modules_to_save = [{}] is not supported",
                                fmt::join(section.modules_to_save, ", ")),
                    "with model.lora nothing but adapters is trained",
                    "remove the key, or remove model.lora to train all weights");
  }
  if (section.name.has_value()) model::require_adapter(*section.name, out);
  return out;
}

void require_useful_rank(const model::ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size, q = config.num_heads * config.head_dim,
                     kv = config.num_kv_heads * config.head_dim;
  // In the order of kAdapterTargets: one side of each, the other is the hidden size.
  const std::array sides = {
      q, kv, kv, q, config.intermediate_size, config.intermediate_size, config.intermediate_size};
  std::int64_t most = 0;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    if (config.adapters.targets[i]) most = std::max(most, std::min(hidden, sides[i]));
  }
  if (config.adapters.rank <= most) return;
  throw bad_input(
      fmt::format("model.lora.rank = {} is more than any weight of this model has", config.adapters.rank),
      fmt::format("its adapted layers have a rank of at most {}", most),
      "lower it (16 is usual), or remove model.lora to train all weights");
}

std::string adapters_text(const model::ModelConfig& config) {
  std::vector<std::string> targets;
  for (std::size_t i = 0; i < model::kAdapterTargets.size(); ++i) {
    const std::string name = model::kAdapterTargets[i];
    if (config.adapters.targets[i]) targets.push_back(name.substr(0, name.find('_')));
  }
  const std::string trained = parameters_text(model::adapter_parameters(config));
  return fmt::format("LoRA rank {} on {}: {} trained of {}", config.adapters.rank, fmt::join(targets, ","),
                     trained.substr(0, trained.rfind(' ')), parameters_text(config.parameters()));
}

void require_no_dropout(const ops::Context& ctx, const model::ModelConfig& config) {
  if (!config.adapters.any() || config.adapters.dropout == 0 || ctx.mode != ops::NumericMode::kExact) return;
  throw bad_input(
      fmt::format("model.lora.dropout = {} is not possible in the numeric mode exact",
                  config.adapters.dropout),
      ctx.on_gpu() ? "the trainer's log-probabilities would not be those of the engine"
                   : "the trainer's log-probabilities would not be those of the engine, and the CPU has no "
                     "other mode",
      ctx.on_gpu() ? "set model.lora.dropout to 0, or numeric_mode to fast"
                   : "set model.lora.dropout to 0, or run sft or trainer on a GPU");
}

}  // namespace rlcpp::app
