// Sections that every training command shares, with the reference's names and defaults (prime-rl
// trainer/config.py and utils/config.py, January 2026). Features of the reference that do not exist here are
// refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config/schema.h"
#include "base/log.h"
#include "model/decoder.h"

namespace rlcpp::app {

struct AcSection {
  std::string mode = "full";
  std::int64_t freq = 1;
  void describe(config::Schema& s);
};

struct AcOffloadingSection {
  bool pin_memory = true;
  std::int64_t max_inflight = 5;
  bool attention = false;
  void describe(config::Schema& s);
};

struct DebugSection {
  std::optional<std::int64_t> num_layers;
  bool random_init = false;
  void describe(config::Schema& s);
};

struct LoraSection {
  std::int64_t rank = 16;
  double alpha = 32.0, dropout = 0.0;
  std::vector<std::string> target_modules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                             "gate_proj", "up_proj", "down_proj"};
  std::vector<std::string> modules_to_save;
  std::optional<std::string> name;  // a directory of adapters to start from
  void describe(config::Schema& s);
};

struct ModelSection {
  std::string name = "Qwen/Qwen3-0.6B";
  std::optional<std::int64_t> seq_len;
  std::string attn = "auto", impl = "auto";
  std::optional<AcSection> ac;
  std::optional<AcOffloadingSection> ac_offloading;
  bool optim_cpu_offload = false;
  std::optional<LoraSection> lora;
  std::optional<std::string> quantization;  // fp8
  std::optional<std::int64_t> head_chunk;
  std::string optimization_dtype = "float32", reduce_dtype = "float32";
  DebugSection debug;
  void describe(config::Schema& s);
  // Throws bad_input for sections that contradict each other.
  model::Recompute recompute() const;
  // Whether memory of the host that the plan names is pinned.
  bool pin_host() const { return !ac_offloading.has_value() || ac_offloading->pin_memory; }
};

struct TokenizerSection {
  std::optional<std::string> name, chat_template;
  void describe(config::Schema& s);
  // The template's text: the key is a file, or the text itself. Empty: the tokenizer's own.
  std::string template_text() const;
};

struct WeightsSection {
  std::string dtype = "bfloat16";
  std::string save_format = "safetensors";
  bool save_sharded = true;
  bool save_adapter_separately = true;
  void describe(config::Schema& s);
};

struct CkptSection {
  std::optional<std::int64_t> interval, resume_step, keep_last, keep_interval;
  bool background = true;
  std::optional<std::string> staging;  // "8GiB"
  std::string on_disk_full = "fail";   // fail | wait
  std::optional<WeightsSection> weights = WeightsSection{};
  void describe(config::Schema& s);
};

struct LogSection {
  std::string level = "info";
  bool file = true;
  void describe(config::Schema& s);
};

struct BenchSection {
  std::optional<std::string> output_json, publish_dir;
  void describe(config::Schema& s);
};

// Keys at the top of a training configuration.
struct RunSection {
  std::string output_dir = "outputs";
  bool clean = false;
  std::string device = "auto";
  std::string numeric_mode = "auto";
  bool deterministic = true;
  std::optional<std::string> memory_limit;  // "44GiB"
  std::int64_t threads = 0;
  std::int64_t seed = 0;
  std::int64_t max_nonfinite_steps = 3;
  std::vector<std::string> fail;
  // Adds its fields to the section it is called for; `seed_key`: where that has a `seed` of its own.
  void describe(config::Schema& s, const char* seed_key = "seed");
  void arm_fail_points() const;
  // What needs neither device nor data to be refused; throws bad_input.
  void validate() const;  // what `fail` names
  // What a plan may take of the device: its free memory if no limit is set, and of a GPU without what its
  // libraries allocate themselves, so that the peak stays below the limit.
  std::size_t memory_limit_bytes(Device on) const;
};

// Declares the reference's top-level keys that are not supported.
void refuse_reference_keys(config::Schema& s);

// "44GiB", "512 MiB", "2e9" (bytes). Throws bad_input naming `key`.
std::size_t parse_bytes(const std::string& text, const std::string& key);

// Options of the command line win over the section's level; see log.level.
LogOptions merged_log(LogOptions from_command_line, const LogSection& section);

}  // namespace rlcpp::app
