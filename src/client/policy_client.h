// Asking a policy for tokens: one interface for an engine in this process and, later, for a remote server.
// Whoever asks knows neither weights nor pages.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rollout/request.h"

namespace rlcpp::client {

class PolicyClient {
 public:
  virtual ~PolicyClient() = default;

  // "in-process engine" or a server's address: who is named when a wait takes too long.
  virtual const std::string& name() const = 0;

  // Queues n samples of a prompt. Throws bad_input if a field is out of range or the id is in use.
  virtual void submit(rollout::GroupRequest request) = 0;
  // Unfinished sequences of the group come back with kAborted. Unknown ids are ignored.
  virtual void abort(std::int64_t group_id) = 0;

  struct Poll {
    std::vector<rollout::SampledSequence> finished;  // each sequence once, in no promised order
    bool progressed = false;  // something was computed or received: the policy is alive
  };
  // What has finished since the last call. Never waits for longer than one unit of work (an engine's
  // forward).
  virtual Poll poll() = 0;
  // Sequences submitted and not yet returned by poll().
  virtual std::int64_t outstanding() const = 0;

  // The weights have changed to `version` at a step boundary; tokens drawn from now on carry it.
  virtual void set_version(std::int64_t version) = 0;
  virtual std::int64_t version() const = 0;
};

// Limits of a wait for sequences, counted from the last sign of life (see base/wait.h).
struct WaitLimits {
  std::chrono::milliseconds soft{60'000};
  std::chrono::milliseconds hard{600'000};
};

// Polls until at least `count` more sequences have finished, or nothing is outstanding. Throws
// runtime_failure naming the client once the hard limit has passed without progress.
std::vector<rollout::SampledSequence> collect(PolicyClient& client, std::size_t count,
                                              const WaitLimits& limits = {});
// Polls until nothing is outstanding.
std::vector<rollout::SampledSequence> collect_all(PolicyClient& client, const WaitLimits& limits = {});

// All samples of one group, in the order of their number.
struct FinishedGroup {
  std::int64_t id = 0;
  std::vector<rollout::SampledSequence> samples;
};

// Puts sequences together again into groups.
class GroupCollector {
 public:
  // A group of n samples is expected.
  void expect(std::int64_t group_id, std::int32_t n);
  // Adds a sequence of an expected group; when it is the last one of its group, the group is complete.
  void add(rollout::SampledSequence sequence);
  // Complete groups, in the order of their completion; each once.
  std::vector<FinishedGroup> take_complete();
  std::size_t incomplete() const { return open_.size(); }

 private:
  struct Open {
    FinishedGroup group;
    std::int32_t expected = 0;
  };
  std::vector<Open> open_;
  std::vector<FinishedGroup> complete_;
};

}  // namespace rlcpp::client
