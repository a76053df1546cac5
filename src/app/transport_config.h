// Where rollouts and weights pass between `rlcpp orchestrator` and `rlcpp trainer`, and for how long one
// waits for the other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/config/schema.h"
#include "base/log.h"
#include "tensor/dtype.h"
#include "transport/transport.h"

namespace rlcpp::app {

// The reference's layout: the orchestrator's output_dir is this folder of the trainer's.
inline constexpr const char* kRunFolder = "run_default";

struct RolloutTransportSection {
  std::string type = "filesystem";
  std::optional<std::string> dir;
  double timeout = 1200;
  // `reader`: the command that waits on the other end, to which dir and timeout belong; the other has no use
  // for them.
  void describe(config::Schema& s, bool reader);
};

struct WeightBroadcastSection {
  std::string type = "filesystem";
  std::string dtype = "auto";
  std::optional<std::string> dir;
  std::optional<std::string> host;
  std::optional<std::int64_t> port;
  double timeout = 1200;
  void describe(config::Schema& s, bool reader);
  bool linked() const { return type == "nccl"; }
  void validate() const;  // throws bad_input
};

// config::Schema::section() wants one describe() with one argument.
struct RolloutReaderSection : RolloutTransportSection {
  void describe(config::Schema& s) { RolloutTransportSection::describe(s, true); }
};
struct RolloutWriterSection : RolloutTransportSection {
  void describe(config::Schema& s) { RolloutTransportSection::describe(s, false); }
};
struct WeightReaderSection : WeightBroadcastSection {
  void describe(config::Schema& s) { WeightBroadcastSection::describe(s, true); }
};
struct WeightWriterSection : WeightBroadcastSection {
  void describe(config::Schema& s) { WeightBroadcastSection::describe(s, false); }
};

// The directories that the readers look into, of the output_dir of the process that reads.
std::string rollouts_of(const RolloutTransportSection& section, const std::string& trainer_dir);
std::string broadcasts_of(const WeightBroadcastSection& section, const std::string& orchestrator_dir);

// Of the published files: what the trainer's decoder reads, unless the section says otherwise.
DType broadcast_dtype(const WeightBroadcastSection& section, DType compute_type);

// Ends early when a signal asked to stop; what is refused is a warning.
transport::WaitOptions wait_options(double timeout_seconds, Logger& log);

}  // namespace rlcpp::app
