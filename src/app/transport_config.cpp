#include "app/transport_config.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
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
  s.field("type", type,
          "How weights travel: files that both processes see, or NCCL between a GPU of each; the same for "
          "both.")
      .one_of({"filesystem", "nccl"})
      .no_choice("nixl", "weights travel through files or over NCCL: use filesystem or nccl");
  s.field("host", host, "Of nccl: the trainer's machine, where the two meet; None: localhost.");
  s.field("port", port, "Of nccl: the trainer's port, where the two meet; None: 29501.")
      .at_least(1)
      .at_most(65535);
  s.field("timeout", timeout,
          reader ? "How long to wait for the weights of a step before giving up."
                 : "Of nccl: how long to wait for the orchestrator, to meet it and until it takes weights.")
      .above(0)
      .at_most(1e6)
      .in("seconds");
  if (reader) {
    s.field("dir", dir,
            "The trainer's broadcasts; None: broadcasts beside output_dir, which is run_default of the "
            "trainer's.");
  } else {
    s.field("dtype", dtype,
            "Type of the published weights; auto: the one the trainer computes with (float32 on a CPU, "
            "bfloat16 on a GPU), so that nothing is lost.")
        .one_of({"auto", "float32", "bfloat16"});
    s.refused("dir", "the orchestrator reads weights: set weight_broadcast.dir there");
  }
  s.refused("inference_world_size",
            "one orchestrator takes the weights: remove weight_broadcast.inference_world_size")
      .unless({"1"});
  for (const char* key : {"save_sharded", "save_format"}) {
    s.refused(key, "weights travel as safetensors files: remove weight_broadcast." + std::string(key))
        .unless({"true", "\"safetensors\""});
  }
}

void WeightBroadcastSection::validate() const {
  if (linked()) {
    if (dtype == "auto") return;
    throw bad_input("weight_broadcast.dtype is of type = \"filesystem\"",
                    "over NCCL weights travel as the trainer computes with them",
                    "remove weight_broadcast.dtype");
  }
  for (const auto& [key, given] :
       {std::pair{"host", host.has_value()}, std::pair{"port", port.has_value()}}) {
    if (!given) continue;
    throw bad_input(fmt::format("weight_broadcast.{} is of type = \"nccl\"", key),
                    "weights travel through files here",
                    fmt::format("set weight_broadcast.type = \"nccl\", or remove weight_broadcast.{}", key));
  }
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
