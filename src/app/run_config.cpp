#include "app/run_config.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "tensor/device.h"

namespace rlcpp::app {

void AcSection::describe(config::Schema& s) {
  s.field("mode", mode,
          "full: only the inputs of blocks are kept; attention: what attention gives too, which pays with "
          "long rows; "
          "selective: norms and SwiGLU alone are computed again.")
      .one_of({"full", "attention", "selective"});
  s.field("freq", freq, "Every how many blocks: only 1, all of them.").at_least(1).at_most(1);
  s.refused("targets",
            "model.ac.targets is not supported: model.ac.mode says what is kept (selective computes norms "
            "and SwiGLU again)");
}

void AcOffloadingSection::describe(config::Schema& s) {
  s.field("pin_memory", pin_memory,
          "Pin the host's memory; without it copies are slow and hold the host up.");
  s.field("max_inflight_activations", max_inflight, "Block inputs on the device at once.").at_least(2);
  s.field("attention", attention,
          "What attention gives goes to the host's memory as well and is not computed again: faster with "
          "long rows.");
}

void DebugSection::describe(config::Schema& s) {
  s.field("num_layers", num_layers, "Build only this many layers of the model.").at_least(1);
  s.field("random_init", random_init, "Start from random weights: only config.json of the model is read.");
}

void LoraSection::describe(config::Schema& s) {
  s.field("rank", rank, "Rank of the adapters.").at_least(1).alias("r");
  s.field("alpha", alpha, "An adapter's output is multiplied by alpha / rank.")
      .above(0)
      .at_most(1e6)
      .alias("lora_alpha");
  s.field("dropout", dropout,
          "Share of an adapter's inputs that are dropped in training; 0 in the numeric mode exact.")
      .at_least(0)
      .below(1)
      .alias("lora_dropout");
  s.field("target_modules", target_modules, "The linear layers that have adapters.")
      .alias("lora_target_modules");
  s.field("modules_to_save", modules_to_save,
          "Accepted for the reference's configurations while it is empty: nothing but adapters is trained.");
  s.field(
      "name", name,
      "Directory of adapters to start from, as peft's save_pretrained or rlcpp wrote it; None: A random, B "
      "zero.");
}

void ModelSection::describe(config::Schema& s) {
  s.field(
       "name", name,
       "Directory of the model (config.json, safetensors, tokenizer), or an id of the hub (org/name, "
       "org/name@revision), which is taken from the Hugging Face cache or downloaded (HF_HOME, HF_ENDPOINT, "
       "HF_TOKEN and HF_HUB_OFFLINE mean what they mean to Python's programs). With config.json alone, "
       "weights are random. Ids of well-known models give their shapes where no weights are needed (--bench, "
       "model.debug.random_init).")
      .alias("model_name_or_path");
  s.field("seq_len", seq_len,
          "Longest row the trainer is given; sft: data.seq_len decides, this is only an upper bound.")
      .at_least(2)
      .in("tokens");
  s.field("attn", attn,
          "Accepted for the reference's configurations; attention has one implementation a device.")
      .one_of({"auto", "sdpa", "flash_attention_2", "flash_attention_3"});
  s.field("impl", impl, "Accepted for the reference's configurations; there is one implementation.")
      .one_of({"auto", "custom", "hf", "liger_kernel"});
  s.section("ac", ac, "Activation checkpointing: less memory for a second forward.");
  s.section("ac_offloading", ac_offloading,
            "As ac.mode full, and the inputs of blocks go to the host's memory until the backward.");
  s.field(
      "optim_cpu_offload", optim_cpu_offload,
      "Optimizer state (f32 masters and moments) rests in the host's memory; each update streams it through "
      "the GPU. Same result.");
  s.section("lora", lora, "Train low-rank adapters (LoRA) and freeze the model; None: train all weights.");
  s.field(
       "quantization", quantization,
       "fp8: products with the weights of blocks, forward and backward, are of e4m3 numbers with a scale a "
       "matrix, found in the same step; what is stored keeps its type. For Ada and Hopper GPUs, not in mode "
       "exact "
       "there; the CPU computes the same numbers, slowly. None: bf16 on a GPU, f32 on the CPU.")
      .one_of({"fp8"})
      .no_choice("mxfp8",
                 "blocks of 32 numbers with a scale each need a Blackwell GPU's instructions: use fp8");
  s.field("fused_lm_head_token_chunk_size", head_chunk,
          "Rows of logits that exist at once; None: 256 on the CPU, 2112 on a GPU.")
      .at_least(1)
      .in("tokens");
  s.field("optimization_dtype", optimization_dtype, "Type of the master weights.")
      .one_of({"float32"})
      .no_choice(
          "bfloat16",
          "updates smaller than a bf16 weight's last bit would be lost: leave it at float32, and halve the "
          "moments with optim.moments = \"bfloat16\"");
  s.field("reduce_dtype", reduce_dtype, "Type of gradients.")
      .one_of({"float32"})
      .no_choice("bfloat16", "gradients are summed in f32: leave it at float32");
  s.section("debug", debug, "For tests and benchmarks.");
  const auto no = [&](const char* key, const char* sentence) -> config::Field& {
    return s.refused(key, sentence);
  };
  no("ep", "expert parallelism (model.ep) is not supported yet: remove the key").unless({"1", "\"auto\""});
  no("cp", "context parallelism (model.cp) is not supported yet: remove the key").unless({"1"});
  no("tp", "tensor parallelism (model.tp) is not supported yet: remove the key").unless({"1"});
  no("dp_replicate",
     "there are no groups of replicas: with dist.zero = 1 every rank holds all weights; remove "
     "model.dp_replicate")
      .unless({"1"});
  no("vlm", "vision models (model.vlm) are not supported: use a text model");
  no("fp8", "FP8 training is model.quantization = \"fp8\": use that in place of model.fp8").unless({"false"});
  no("load_in_4bit",
     "quantised base weights (model.load_in_4bit) are not supported: use bf16, f16 or f32 weights");
  no("load_in_8bit",
     "quantised base weights (model.load_in_8bit) are not supported: use bf16, f16 or f32 weights");
  no("compile",
     "model.compile has no meaning here: nothing is traced or compiled at run time, remove the key")
      .unless({"null", "false"});
  no("fsdp_cpu_offload",
     "weights and gradients stay on the device: use model.optim_cpu_offload in place of fsdp_cpu_offload")
      .unless({"false"});
  no("full_offload",
     "weights and gradients stay on the device: use model.optim_cpu_offload in place of full_offload")
      .unless({"null", "false"});
  no("reshard_after_forward",
     "what ranks hold in shards is dist.zero (3: weights, gathered again for the backward; 1 and 2 keep them "
     "whole): remove model.reshard_after_forward")
      .unless({"true"});
  no("trust_remote_code", "rlcpp never runs code of a model repository: remove model.trust_remote_code")
      .unless({"false"});
  no("moe_use_grouped_mm", "mixtures of experts (model.moe_*) are not supported yet: remove the key")
      .unless({"true", "false"});
  no("fused_lm_head_chunk_size",
     "the head is always fused and chunked by tokens: use model.fused_lm_head_token_chunk_size")
      .unless({"null"});
}

model::Recompute ModelSection::recompute() const {
  if (ac_offloading.has_value()) {
    if (ac.has_value() && ac->mode != "full") {
      throw bad_input(
          "model.ac_offloading and model.ac.mode = \"" + ac->mode + "\" contradict each other",
          "only the inputs of blocks are offloaded, and with ac_offloading.attention what attention gives",
          "set model.ac.mode to full, or remove model.ac");
    }
    return ac_offloading->attention ? model::Recompute::kOffloadAttention : model::Recompute::kOffload;
  }
  if (!ac.has_value()) return model::Recompute::kNone;
  if (ac->mode == "attention") return model::Recompute::kAttention;
  return ac->mode == "selective" ? model::Recompute::kSelective : model::Recompute::kFull;
}

void TokenizerSection::describe(config::Schema& s) {
  s.field(
      "name", name,
      "Directory of the tokenizer (tokenizer.json, tokenizer_config.json), or an id of the hub; None: the "
      "model's.");
  s.field("chat_template", chat_template, "Jinja template, as a file or as text; None: the tokenizer's.");
  s.refused("trust_remote_code",
            "rlcpp never runs code of a model repository: remove tokenizer.trust_remote_code")
      .unless({"false", "null"});
}

std::string TokenizerSection::template_text() const {
  if (!chat_template.has_value() || chat_template->empty()) return {};
  std::error_code ignored;
  if (std::filesystem::is_regular_file(*chat_template, ignored)) return durable::read_file(*chat_template);
  if (chat_template->find('{') == std::string::npos) {
    throw bad_input(
        fmt::format("tokenizer.chat_template = \"{}\" is neither a file nor a template", *chat_template),
        "there is no such file, and the text has no {{ or {%", "give the path of a .jinja file");
  }
  return *chat_template;
}

void WeightsSection::describe(config::Schema& s) {
  s.field("dtype", dtype, "Type of the exported weights.").one_of({"bfloat16", "float32"});
  s.field("save_format", save_format, "Format of the exported weights.")
      .one_of({"safetensors"})
      .no_choice("torch",
                 "a pickle runs code when it is read: use safetensors, which transformers reads as well");
  s.field("save_sharded", save_sharded, "Split files above 5 GiB; false: one file whatever its size.");
  s.field(
      "save_adapter_separately", save_adapter_separately,
      "With model.lora: also write the adapters to lora_adapters/, as peft does; the weights themselves have "
      "them merged.");
}

void CkptSection::describe(config::Schema& s) {
  s.field("interval", interval,
          "Steps between checkpoints; None: only at the end and when stopped by a signal.")
      .at_least(1)
      .in("steps")
      .alias("save_steps");
  s.field("resume_step", resume_step, "Continue from checkpoints/step_N of output_dir; -1: from the newest.")
      .at_least(-1);
  s.field("keep_last", keep_last, "Checkpoints to keep, newest first; None: all.")
      .at_least(1)
      .alias("save_total_limit");
  s.field("keep_interval", keep_interval, "Also keep checkpoints whose step is a multiple of this.")
      .at_least(1)
      .in("steps");
  s.field(
      "background", background,
      "Write checkpoints while training goes on: a step only waits until its state is copied; false: until "
      "it is on disk.");
  s.field(
      "staging", staging,
      "Host memory that a state is copied to on its way to the disk, e.g. 8GiB; None: all of the state, at "
      "most half of the free memory. With less than the state, the next update waits for the disk.");
  s.field(
       "on_disk_full", on_disk_full,
       "When the disk of output_dir is full: fail, which includes not to start where two checkpoints do not "
       "fit; or wait, which says so and goes on when there is room.")
      .one_of({"fail", "wait"});
  s.section("weights", weights,
            "Export weights/step_N in Hugging Face format with each checkpoint; None: do not.");
  for (const char* key : {"skip_progress", "skip_scheduler", "skip_dataloader", "skip_optimizer"}) {
    s.refused(key,
              fmt::format("ckpt.{} is not supported: a resumed run continues everything, bit for bit", key))
        .unless({"false"});
  }
}

void LogSection::describe(config::Schema& s) {
  s.field("level", level, "Lowest level shown: debug, info, success, warn, error.")
      .one_of({"debug", "info", "success", "warn", "error"});
  s.field("file", file, "Also write the log to the run directory.");
  s.refused("vf_level", "log.vf_level belongs to a library that rlcpp does not use: remove it")
      .unless({"\"warn\"", "\"info\""});
  s.refused("log_data", "log.log_data is not supported: --dry-run prints rendered samples").unless({"false"});
}

void BenchSection::describe(config::Schema& s) {
  s.field("output_json", output_json, "Write the result to this file, in the reference's schema.");
  s.field("publish_dir", publish_dir,
          "rlcpp trainer: write the weights after each step to this new directory, as a run over files does, "
          "within "
          "the measured interval; removed at the end. None: published in the process.");
}

void RunSection::describe(config::Schema& s, const char* seed_key) {
  s.field("output_dir", output_dir, "Directory of the run: configs, logs, metrics, checkpoints, weights.");
  s.field("clean", clean,
          "Remove what an earlier run left in output_dir; without it a used directory is refused.");
  s.field("device", device, "Where to run: auto, cpu, cuda or cuda:N.");
  s.field("numeric_mode", numeric_mode,
          "exact: a token's log-probability has the same bits in engine and trainer, whatever it is computed "
          "with; fast: the "
          "fastest kernels, the same bits in every run unless deterministic is false. auto: exact on the "
          "CPU, fast on a "
          "GPU.")
      .one_of({"auto", "exact", "fast"});
  s.field("deterministic", deterministic,
          "The same bits in every run. false: on a GPU, attention's backward may add in any order, which is "
          "faster "
          "with long rows.");
  s.field(
      "memory_limit", memory_limit,
      "Plan for a device with so much memory, e.g. 44GiB, and refuse to start if that does not fit; None: "
      "the memory that is free. On a GPU 64 MiB of it are left to its libraries.");
  s.field("threads", threads, "CPU threads; 0: one a core. Results do not depend on it.")
      .at_least(0)
      .at_most(1024);
  s.field(
      seed_key, seed,
      std::string_view(seed_key) == "seed"
          ? "Seed of random weights; with data.seed, of the order of the data."
          : "The seed of an `rlcpp rl` whose rollouts are to be the same; its orchestrator.seed is seed.");
  s.field("max_nonfinite_steps", max_nonfinite_steps,
          "Steps in a row whose loss or gradient is not finite (they are skipped) before the run stops.")
      .at_least(1)
      .in("steps");
  s.field("fail", fail,
          "For tests: fail points to arm, as NAME=ACTION[:WHEN] with kill, error, hang, delay(ms), nan, "
          "inf, spike or flip; a name that "
          "does not exist lists those that do.");
}

void RunSection::arm_fail_points() const {
  for (const std::string& specification : fail) failpoint::arm(specification);
}

void RunSection::validate() const {
  if (device != "auto" && !device.starts_with("cuda")) choose_device(device);  // no GPU is asked for
  if (memory_limit.has_value()) parse_bytes(*memory_limit, "memory_limit");
  if (!deterministic && numeric_mode == "exact") {
    throw bad_input("deterministic is false and numeric_mode is exact",
                    "mode exact keeps the order of every sum",
                    "set deterministic to true, or numeric_mode to fast");
  }
}

std::size_t RunSection::memory_limit_bytes(Device on) const {
  if (!memory_limit.has_value()) return memory_available_bytes(on);
  const std::size_t limit = parse_bytes(*memory_limit, "memory_limit"), reserve = library_reserve_bytes(on);
  return limit > reserve ? limit - reserve : 1;
}

void refuse_reference_keys(config::Schema& s) {
  s.refused(
       "dist_timeout_seconds",
       "the deadlines between ranks are dist.timeout and dist.start_timeout: remove dist_timeout_seconds")
      .unless({"600"});
  s.refused("weights", "top-level weights is not a key: use ckpt.weights");
  s.refused("resume", "a run is continued with ckpt.resume_step: set ckpt.resume_step (-1: the newest)");
  s.refused("monitors",
            "metrics.jsonl and TensorBoard files are always written: use the section wandb for more");
  s.refused("matmul_precision",
            "products on the CPU are f32, on a GPU bf16 with f32 sums: remove matmul_precision");
  s.refused("gc", "there is no garbage collector to hold back: remove the section gc");
  s.refused("env_vars", "rlcpp starts no processes that would read them: export them before the start");
}

std::size_t parse_bytes(const std::string& text, const std::string& key) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  std::string unit(end);
  std::erase_if(unit, [](unsigned char c) { return std::isspace(c) != 0; });
  double factor = 0;
  for (const auto& [name, scale] : {std::pair<const char*, double>{"", 1.0},
                                    {"B", 1.0},
                                    {"KiB", 0x1p10},
                                    {"MiB", 0x1p20},
                                    {"GiB", 0x1p30},
                                    {"TiB", 0x1p40},
                                    {"kB", 1e3},
                                    {"MB", 1e6},
                                    {"GB", 1e9},
                                    {"TB", 1e12}}) {
    if (unit == name) factor = scale;
  }
  if (end == text.c_str() || factor == 0 || !std::isfinite(value) || value <= 0 || value * factor > 0x1p60) {
    throw bad_input(fmt::format("{} = \"{}\" is not an amount of memory", key, text), {},
                    "write it like 44GiB or 512MiB");
  }
  if (unit.empty() && value < 0x1p20) {
    throw bad_input(fmt::format("{0} = \"{1}\" is {2} byte{3}: did you mean {2}GiB?", key, text, value,
                                value == 1 ? "" : "s"),
                    {}, "write it like 44GiB or 512MiB");
  }
  return static_cast<std::size_t>(value * factor);
}

LogOptions merged_log(LogOptions from_command_line, const LogSection& section) {
  LogLevel level = LogLevel::kInfo;
  if (section.level == "debug") level = LogLevel::kDebug;
  if (section.level == "success") level = LogLevel::kSuccess;
  if (section.level == "warn") level = LogLevel::kWarn;
  if (section.level == "error") level = LogLevel::kError;
  // -v and --quiet are for this run; the file's level is the usual one.
  if (from_command_line.level == LogLevel::kInfo) from_command_line.level = level;
  return from_command_line;
}

}  // namespace rlcpp::app
