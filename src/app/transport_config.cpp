#include "app/transport_config.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/signals.h"

namespace rlcpp::app {

void RolloutTransportSection::describe(config::Schema& s, bool reader) {
  s.field("type", type, "How rollouts travel: files that both processes see.")
      .one_of({"filesystem"})
      .no_choice("zmq", "rollouts travel through files that both processes see: use filesystem");
  for (const char* key : {"host", "port", "hwm"})
    s.refused(key, "rollouts travel through files: remove rollout_transport." + std::string(key));
  if (!reader) {
    for (const char* key : {"dir", "timeout"})
      s.refused(key, fmt::format("the trainer reads rollouts: set rollout_transport.{} there", key));
    return;
  }
  s.field(
      "dir", dir,
      "The orchestrator's rollouts; None: run_default/rollouts of output_dir, as the orchestrator has it.");
  s.field("timeout", timeout, "How long to wait for the rollouts of a step before giving up.")
      .above(0)
      .at_most(1e6)
      .in("seconds");
}

void WeightBroadcastSection::describe(config::Schema& s, bool reader) {
  s.field("type", type, "How weights travel: files that both processes see.")
      .one_of({"filesystem"})
      .no_choice("nccl", "the engine takes weights from files: use filesystem")
      .no_choice("nixl", "the engine takes weights from files: use filesystem");
  if (reader) {
    s.field("dir", dir,
            "The trainer's broadcasts; None: broadcasts beside output_dir, which is run_default of the "
            "trainer's.");
    s.field("timeout", timeout, "How long to wait for the weights of a step before giving up.")
        .above(0)
        .at_most(1e6)
        .in("seconds");
  } else {
    s.field("dtype", dtype,
            "Type of the published weights; auto: the one the trainer computes with (float32 on a CPU, "
            "bfloat16 on a GPU), so that nothing is lost.")
        .one_of({"auto", "float32", "bfloat16"});
  }
  for (const char* key : {"host", "port", "inference_world_size", "save_sharded", "save_format"}) {
    s.refused(key, "weights travel as safetensors files: remove weight_broadcast." + std::string(key))
        .unless({"true", "\"safetensors\""});
  }
  if (reader) return;
  for (const char* key : {"dir", "timeout"})
    s.refused(key, fmt::format("the orchestrator waits for weights: set weight_broadcast.{} there", key));
}

std::string rollouts_of(const RolloutTransportSection& section, const std::string& trainer_dir) {
  return section.dir.value_or(trainer_dir + "/" + kRunFolder + "/rollouts");
}

std::string broadcasts_of(const WeightBroadcastSection& section, const std::string& orchestrator_dir) {
  if (section.dir.has_value()) return *section.dir;
  std::filesystem::path path = std::filesystem::path(orchestrator_dir).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "outputs/run_default/"
  path = path.parent_path();
  return (path.empty() ? std::filesystem::path(".") : path).string() + "/broadcasts";
}

DType broadcast_dtype(const WeightBroadcastSection& section, DType compute_type) {
  if (section.dtype == "auto") return compute_type;
  return section.dtype == "float32" ? DType::kF32 : DType::kBF16;
}

transport::WaitOptions wait_options(double timeout_seconds, Logger& log) {
  transport::WaitOptions out;
  out.hard = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_seconds * 1000));
  out.soft = std::min(out.soft, out.hard / 2);
  out.stop = [] { return stop_signal() != 0; };
  out.refused = [&log](const std::string& text) { log.warn("refused: " + text); };
  return out;
}

}  // namespace rlcpp::app
