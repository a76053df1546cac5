#include "app/run_model.h"
#include "app/hub_models.h"
#include "app/run_lora.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/readable.h"
#include "hub/safetensors_index.h"
#include "model/adapter_files.h"
#include "model/checkpoint.h"
#include "ops/attention.h"
#include "ops/paged_work.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool has_weights(const std::string& dir) {
  return is_file(dir + "/model.safetensors") || is_file(dir + "/model.safetensors.index.json");
}

// A file of `dir` with weights that are not read: another format, another name than transformers gives, or
// an index whose files are missing. Empty if there is none.
std::string unread_weights(const std::string& dir) {
  std::vector<std::string> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(dir, ignored)) {
    const std::string name = entry.path().filename().string();
    for (const char* end : {".safetensors", ".bin", ".gguf", ".ggml", ".pth", ".pt", ".ckpt", ".h5",
                            ".msgpack", ".npz", ".bin.index.json"}) {
      if (name.ends_with(end)) found.push_back(name);
    }
  }
  return found.empty() ? std::string() : *std::min_element(found.begin(), found.end());
}

// Throws bad_input if `dir` would start from random weights, or fail much later, against the user's intent.
void require_weights_are_read(const std::string& dir) {
  static const char* const kMend =
      "convert the weights to safetensors (save_pretrained of transformers writes it), or start from random "
      "ones with --model.debug.random-init (rl: --trainer.model.debug.random-init)";
  if (!has_weights(dir)) {
    const std::string name = unread_weights(dir);
    if (name.empty()) return;
    throw bad_input(
        fmt::format("the weights of model.name = \"{}\" are not in a form that rlcpp reads", dir),
        fmt::format("there is {}, and neither model.safetensors nor model.safetensors.index.json", name),
        kMend);
  }
  if (is_file(dir + "/model.safetensors")) return;
  const std::string index = dir + "/model.safetensors.index.json";
  for (const auto& [tensor, file] : hub::read_safetensors_index(index)) {
    if (is_file(fmt::format("{}/{}", dir, file))) continue;
    throw bad_input(fmt::format("{} names files that are not there", index), "the first is " + file,
                    "download the model again, or start from random weights with --model.debug.random-init "
                    "(rl: --trainer.model.debug.random-init)");
  }
}

// The directory of a name that is none itself: an id of the hub. `builtin`: its shapes are known without it.
std::string model_from_hub(const std::string& name, bool weights, bool builtin) {
  try {
    if (const auto directory = hub_model(name, weights, "model.name")) return *directory;
  } catch (const Error& error) {
    if (!builtin) throw;
    throw Error(error.code(), error.what(), error.because(),
                error.help() + "; or train from scratch with --model.debug.random-init");
  }
  throw bad_input(fmt::format("model.name = \"{}\" is neither a directory nor a built-in model", name),
                  fmt::format("nor can it be an id of the hub; built in are the shapes of: {}",
                              fmt::join(model::builtin_model_ids(), ", ")),
                  "give a directory with config.json and safetensors, or an id such as Qwen/Qwen3-0.6B");
}

}  // namespace

std::string parameters_text(std::int64_t parameters) {
  const auto n = static_cast<double>(parameters);
  if (n >= 1e9) return fmt::format("{:.2f} B parameters", n / 1e9);
  if (n >= 1e6) return fmt::format("{:.2f} M parameters", n / 1e6);
  return fmt::format("{:.1f} k parameters", n / 1e3);
}

std::string device_text(const DeviceChoice& choice, const ops::Context& ctx) {
  if (choice.device.kind == DeviceKind::kCuda)
    return fmt::format("cuda:{} ({})", choice.device.index, choice.why);
  return fmt::format("CPU {}, {} threads, {} ({})", cpu_name(), ctx.pool->size(), ops::instruction_set(),
                     choice.why);
}

ops::Context run_context(Device device, ThreadPool& pool, const std::string& numeric_mode, bool absent,
                         const ops::QkvShape& shape) {
  std::optional<ops::NumericMode> mode;
  if (numeric_mode != "auto") {
    mode = numeric_mode == "exact" ? ops::NumericMode::kExact : ops::NumericMode::kFast;
  }
  if (mode == ops::NumericMode::kFast && device.kind == DeviceKind::kCpu) {
    throw bad_input("numeric_mode is fast", "the CPU computes in mode exact alone",
                    "leave numeric_mode at auto, or use --device cuda");
  }
  ops::Context ctx =
      absent ? ops::planning_context(device, pool, mode) : ops::make_context(device, pool, mode);
  // What a GPU that is not here will refuse for the shape alone is refused in a plan for it, too.
  const bool takes =
      absent ? ops::paged_work_fits(shape, ops::kPagedBlock) : ops::exact_attention(ctx, shape);
  if (ctx.on_gpu() && ctx.mode == ops::NumericMode::kExact && !takes) {
    throw bad_input(
        fmt::format("numeric_mode exact does not run on this GPU with {} heads of {}, {} of them for keys",
                    shape.num_heads, shape.head_dim, shape.num_kv_heads),
        "it needs a Hopper GPU, heads of 64 or 128, and at most 16 query heads a key head",
        "use numeric_mode fast, or --device cpu");
  }
  return ctx;
}

std::string_view name_of(ops::NumericMode mode) {
  return mode == ops::NumericMode::kExact ? "exact" : "fast";
}

std::string arithmetic_text(const ops::Context& ctx) {
  return fmt::format("{} on {}", name_of(ctx.mode), ctx.on_gpu() ? "cuda" : "cpu");
}

RunModel resolve_model(const ModelSection& section, std::int64_t seed, bool shapes_only) {
  RunModel out;
  std::error_code ignored;
  std::string source;
  const auto shapes = model::builtin_config(section.name);
  const bool scratch = section.debug.random_init || shapes_only;
  out.directory = section.name;
  if (fs::is_regular_file(section.name, ignored)) {
    throw bad_input(fmt::format("model.name = \"{}\" is a file", section.name), "a model is a directory",
                    section.name.ends_with(".gguf") ? "make one of it with rlcpp convert FILE --out DIR"
                                                    : "name the directory that it lies in");
  }
  if (!fs::is_directory(section.name, ignored) && (!shapes || !scratch))
    out.directory = model_from_hub(section.name, !scratch, shapes.has_value());
  if (fs::is_directory(out.directory, ignored)) {
    out.config = model::load_config(out.directory);
    if (!scratch) require_weights_are_read(out.directory);
    out.random_init = section.debug.random_init || !has_weights(out.directory);
    source = !out.random_init ? "weights of " + section.name
             : section.debug.random_init
                 ? fmt::format("random weights (seed {})", seed)
                 : fmt::format("random weights (seed {}): {} has no safetensors", seed, section.name);
  } else {
    out.directory.clear();
    out.config = *shapes;
    out.random_init = true;
    source = fmt::format("built-in shapes of {}, random weights (seed {})", section.name, seed);
  }
  if (section.debug.num_layers.has_value()) {
    if (*section.debug.num_layers > out.config.num_layers) {
      throw bad_input("model.debug.num_layers is larger than the model",
                      fmt::format("{} > {}", *section.debug.num_layers, out.config.num_layers), "lower it");
    }
    if (!out.random_init && *section.debug.num_layers < out.config.num_layers) {
      throw bad_input("model.debug.num_layers needs random weights",
                      "the files hold more layers than would be built", "add --model.debug.random-init");
    }
    out.config.num_layers = *section.debug.num_layers;
  }
  if (section.lora.has_value()) {
    out.config.adapters = adapters_of(*section.lora, section.name);
    require_useful_rank(out.config);
    out.adapters = section.lora->name.value_or("");
    source += "; " + adapters_text(out.config);
  }
  out.text =
      fmt::format("{}, {} layers of {}, vocabulary {}, {}; {}", model::architecture_of(out.config.family),
                  out.config.num_layers, out.config.hidden_size, out.config.vocab_size,
                  parameters_text(out.config.parameters()), source);
  return out;
}

std::string tokenizer_directory(const TokenizerSection& section, const RunModel& model) {
  std::string dir = section.name.value_or(model.directory);
  if (dir.empty()) {
    throw bad_input("there is no tokenizer", "model.name gives shapes only, and tokenizer.name is not set",
                    "set tokenizer.name to a directory with tokenizer.json, or to an id of the hub");
  }
  std::error_code ignored;
  if (!fs::exists(dir, ignored)) dir = hub_model(dir, false, "tokenizer.name").value_or(dir);
  require_readable_directory(dir, section.name.has_value() ? "tokenizer.name" : "model.name");
  if (!is_file(dir + "/tokenizer.json") && !is_file(dir)) {
    throw bad_input(fmt::format("{} has no tokenizer.json", dir),
                    section.name.has_value() ? "tokenizer.name names this directory"
                                             : "the tokenizer is looked for beside the model",
                    "set tokenizer.name to a directory with tokenizer.json");
  }
  return dir;
}

void require_positions(const RunModel& model, std::int64_t seq_len, const std::string& key) {
  if (seq_len <= model.config.max_position) return;
  throw bad_input(fmt::format("{} = {} is longer than the model", key, seq_len),
                  fmt::format("config.json gives it max_position_embeddings = {}", model.config.max_position),
                  fmt::format("set {} to {} or less", key, model.config.max_position));
}

void require_trainable_positions(RunModel& model, std::int64_t seq_len, const std::string& key) {
  if (model.random_init) model.config.max_position = std::max(model.config.max_position, seq_len);
  require_positions(model, seq_len, key);
}

void require_vocabulary(const RunModel& model, std::int64_t tokenizer_size,
                        const std::string& tokenizer_dir) {
  if (tokenizer_size <= model.config.vocab_size) return;
  throw bad_input(
      fmt::format("the tokenizer of {} has more tokens than the model", tokenizer_dir),
      fmt::format("{} ids, and the embedding has {} rows", tokenizer_size, model.config.vocab_size),
      "use the tokenizer that belongs to the model, or a config.json with a larger vocab_size");
}

ModelRegions plan_policy(const ops::Context& ctx, const model::ModelConfig& config, MemoryPlan& plan,
                         std::int64_t positions) {
  ModelRegions regions;
  regions.weights = model::plan_weights(config, plan, MemoryUse::kWeights, "weight.", ctx.compute_type());
  if (config.adapters.any()) regions.adapters = model::plan_adapters(config, ctx, plan);
  regions.packed = model::plan_packed(config, ctx, plan);
  regions.rope = model::plan_rope(config, plan, positions);
  return regions;
}

ModelRegions plan_model(const ops::Context& ctx, const model::ModelConfig& config, MemoryPlan& plan,
                        std::int64_t positions, bool masters_on_host) {
  require_no_dropout(ctx, config);
  ModelRegions regions;
  regions.weights = model::plan_weights(config, plan, MemoryUse::kWeights, "weight.", ctx.compute_type());
  if (config.adapters.any()) {
    regions.adapters = model::plan_adapters(config, ctx, plan);
  } else if (ctx.compute_type() != DType::kF32) {
    const MemoryUse use = masters_on_host ? MemoryUse::kHostOptimizer : MemoryUse::kOptimizer;
    regions.masters = model::plan_weights(config, plan, use, "master.", DType::kF32);
  }
  regions.packed = model::plan_packed(config, ctx, plan);
  regions.rope = model::plan_rope(config, plan, positions);
  return regions;
}

ModelMemory make_model(const model::ModelConfig& config, const Arena& arena, const ModelRegions& regions) {
  ModelMemory memory{model::make_weight_set(config, arena, regions.weights),
                     model::make_packed_set(config, arena, regions.packed),
                     regions.masters.regions.empty() ? model::WeightSet()
                                                     : model::make_weight_set(config, arena, regions.masters),
                     model::make_rope(config, arena, regions.rope)};
  if (config.adapters.any()) {
    memory.masters = memory.weights;
    memory.masters.adapters = model::make_adapter_masters(config, arena, regions.adapters);
    memory.weights.adapters = model::make_adapters(config, arena, regions.adapters);
  }
  return memory;
}

void fill_weights(const RunModel& model, const model::WeightSet& weights, std::int64_t seed,
                  ThreadPool& pool) {
  if (model.random_init) {
    model::init_random(model.config, weights, static_cast<std::uint64_t>(seed), &pool);
  } else {
    model::load_weights(model.config, model.directory, weights, &pool);
  }
  if (!model.config.adapters.any()) return;
  if (model.adapters.empty()) {
    model::init_adapters(model.config, weights.adapters, static_cast<std::uint64_t>(seed));
  } else {
    model::load_adapter(model.config, model.adapters, weights.adapters);
  }
}

}  // namespace rlcpp::app
