// Rollouts and weights between the process that samples and the one that trains. Two directions, each an
// interface that says nothing of what carries it; files.h has the one over a shared file system. (Within one
// process nothing is carried: a batch is an argument, and trainer and engine share the weights.)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/weights.h"
#include "transport/rollout_batch.h"

namespace rlcpp::transport {

// How long to wait, and what ends it early.
struct WaitOptions {
  std::chrono::milliseconds soft{60'000};     // then the watchdog says who is awaited
  std::chrono::milliseconds hard{1'200'000};  // then runtime_failure
  std::chrono::milliseconds poll{20};
  std::function<bool()> stop;  // may be empty
  // Told once why something that is there is not taken, while the wait goes on; may be empty.
  std::function<void(const std::string&)> refused;
};

class RolloutSender {
 public:
  virtual ~RolloutSender() = default;
  // All ranks' shares of one step, and the sender's own state after it, which comes back from
  // newest_state(): whoever is killed goes on behind the last batch that was sent. When the call returns,
  // the receivers can see the step, whole; when it does not, they never see it.
  virtual void send(std::span<const RolloutBatch> ranks, std::string_view state) = 0;
};

class RolloutReceiver {
 public:
  virtual ~RolloutReceiver() = default;
  // The rank's share of `step`; nullopt if stop() came first. Throws bad_input if what is there is damaged,
  // or of another step or rank; runtime_failure once nobody has sent it for the hard limit. Rollouts of
  // another run of the trainer are not taken: their sender has not heard yet, or is gone.
  virtual std::optional<RolloutBatch> receive(std::int64_t step, const WaitOptions& wait) = 0;
};

// A policy that was published.
struct Publication {
  std::string run;                // one name from a trainer's first step to its last, resumed or not
  std::int64_t step = 0;          // updates that it has seen: the version of its tokens
  std::uint32_t fingerprint = 0;  // of every byte of its files; equal weights have equal ones
  // The trainer may be started again and then needs the rollouts of this step and later ones once more.
  std::int64_t replay_from = 0;
  std::string directory;
};

class WeightSender {
 public:
  virtual ~WeightSender() = default;
  virtual Publication publish(const model::ModelConfig& config, const model::WeightSet& weights,
                              std::int64_t step, std::int64_t replay_from) = 0;
};

class WeightReceiver {
 public:
  virtual ~WeightReceiver() = default;
  // The newest policy of first <= step <= last whose sender says that it is complete; nullopt: none. Does
  // not wait, and reads nothing yet.
  virtual std::optional<std::int64_t> newest(std::int64_t first, std::int64_t last) = 0;
  // The run that the newest of all is of; empty: there is none, or it cannot be read.
  virtual std::string newest_run() = 0;
  // Brings it into `live` (f32): all of it or nothing. Everything is verified and read into `spare`, of the
  // same layout, first; if anything fails, `live` is as before and bad_input names file and offset.
  virtual Publication load(std::int64_t step, const model::ModelConfig& config, const model::WeightSet& spare,
                           const model::WeightSet& live, ThreadPool* pool) = 0;
};

// Polls `receiver` for a policy in [first, last] and loads the newest that verifies. One that does not is
// refused, and the wait goes on: its sender may publish it again. nullopt if stop() came first. Throws
// runtime_failure naming the trainer, and the last refusal, after the hard limit.
std::optional<Publication> await_policy(WeightReceiver& receiver, std::int64_t first, std::int64_t last,
                                        const model::ModelConfig& config, const model::WeightSet& spare,
                                        const model::WeightSet& live, ThreadPool* pool,
                                        const WaitOptions& wait);

}  // namespace rlcpp::transport
