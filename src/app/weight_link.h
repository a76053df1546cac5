// What carries weights from `rlcpp trainer` to `rlcpp orchestrator` without files: NCCL between a GPU of each
// (weight_broadcast.type = "nccl").
#pragma once

#include <memory>
#include <string>

#include "app/transport_config.h"
#include "base/log.h"
#include "dist/world.h"
#include "model/config.h"
#include "ops/context.h"
#include "tensor/arena.h"
#include "transport/broadcast.h"

namespace rlcpp::app {

class WeightLink {
 public:
  enum class Side { kTrainer, kOrchestrator };
  // Waits for the other side at the section's host and port: throws runtime_failure naming it after the
  // section's timeout, and environment_error or bad_input as dist::World does. `ctx`: of the GPU that holds
  // the weights, used by the calling thread, as every call below is.
  // `broadcasts`: the trainer's folder of them, which tells this pair from others that meet at this time.
  WeightLink(Side side, const WeightBroadcastSection& section, const std::string& broadcasts,
             const ops::Context& ctx, const model::ModelConfig& model, Logger& log);
  ~WeightLink();
  WeightLink(const WeightLink&) = delete;
  WeightLink& operator=(const WeightLink&) = delete;

  transport::WeightBroadcast& broadcast() { return *broadcast_; }
  // The other side is gone without a word, or a transfer did not end: nothing can be carried any more.
  bool failed() const { return world_->failed(); }
  // Throws what failed() means, with what to do.
  void check() const;
  // The same, and where the other side has stopped in order: that it has sent no `missing`.
  [[noreturn]] void throw_gone(const std::string& missing) const;

 private:
  std::unique_ptr<dist::World> world_;
  std::unique_ptr<dist::Communicator> communicator_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<transport::WeightBroadcast> broadcast_;
  std::string other_;
};

// Throws bad_input unless weights of this device can go over NCCL.
void require_linkable(const WeightBroadcastSection& section, Device device);

}  // namespace rlcpp::app
