#include "app/weight_link.h"

#include <chrono>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "model/weights.h"

namespace rlcpp::app {
namespace {

using std::chrono::milliseconds;

constexpr const char* kAgain = "start both again with --ckpt.resume-step -1";

dist::WorldOptions options_of(WeightLink::Side side, const WeightBroadcastSection& section,
                              const std::string& broadcasts, Device device, Logger& log) {
  dist::WorldOptions out;
  dist::Launch& launch = out.launch;
  launch.processes = 2;
  launch.process = side == WeightLink::Side::kTrainer ? 0 : 1;
  launch.local_processes = 0;
  launch.address = fmt::format("{}:{}", section.host.value_or("localhost"), section.port.value_or(29501));
  launch.run_id =
      "weights in " + std::filesystem::weakly_canonical(std::filesystem::absolute(broadcasts)).string();
  launch.launched = true;
  launch.devices = {device.index};
  launch.source = "weight_broadcast";
  out.device = device.kind;
  // Between two publications either side may be busy for as long as it likes; how long one waits for the
  // other is the timeout of the section. A process that fails has the time to save.
  const milliseconds timeout(static_cast<std::int64_t>(section.timeout * 1000));
  out.deadlines.start = timeout;
  out.deadlines.idle = std::chrono::hours(24 * 365);
  out.deadlines.leave = out.deadlines.leave_on_signal = std::chrono::minutes(10);
  out.meeting.inform = [&log](const std::string& text) { log.debug(text); };
  out.meeting.warn = [&log](const std::string& text) { log.warn(text); };
  return out;
}

}  // namespace

WeightLink::WeightLink(Side side, const WeightBroadcastSection& section, const std::string& broadcasts,
                       const ops::Context& ctx, const model::ModelConfig& model, Logger& log)
    : other_(side == Side::kTrainer ? "orchestrator" : "trainer") {
  MemoryPlan plan;
  const auto regions = transport::WeightBroadcast::plan(model::parameter_list(model).size(), plan);
  arena_ = std::make_unique<Arena>(plan, ctx.device);
  dist::WorldOptions options = options_of(side, section, broadcasts, ctx.device, log);
  log.info(fmt::format("meets the {} at {}, for at most {:.0f} s", other_, options.launch.address,
                       section.timeout));
  try {
    world_ = std::make_unique<dist::World>(std::move(options));
    communicator_ = world_->join(0);
  } catch (const Error& error) {
    throw Error(error.code(),
                fmt::format("trainer and {} did not meet for the weights: {}",
                            side == Side::kTrainer ? "orchestrator" : "this orchestrator", error.what()),
                error.because(),
                "start both with the same weight_broadcast.host and port and each on a GPU of its own "
                "(--device cuda:1, or CUDA_VISIBLE_DEVICES), or set weight_broadcast.type = \"filesystem\"");
  }
  broadcast_ = std::make_unique<transport::WeightBroadcast>(ctx, *communicator_, 0, *arena_, regions);
  log.info(fmt::format("weights go over {}", communicator_->description()));
}

WeightLink::~WeightLink() = default;

void WeightLink::check() const {
  try {
    world_->check();
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("the {} is lost: {}", other_, error.what()), error.because(),
                kAgain);
  }
}

void WeightLink::throw_gone(const std::string& missing) const {
  check();
  throw runtime_failure(fmt::format("the {} has stopped", other_), "it has sent no " + missing, kAgain);
}

void require_linkable(const WeightBroadcastSection& section, Device device) {
  if (!section.linked() || device.kind == DeviceKind::kCuda) return;
  throw bad_input("weight_broadcast.type = \"nccl\" is for GPUs", "this process computes on the CPU",
                  "set weight_broadcast.type = \"filesystem\" for both processes, or --device cuda");
}

}  // namespace rlcpp::app
