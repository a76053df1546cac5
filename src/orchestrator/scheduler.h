// Keeps groups in flight until a batch is full. It thinks in groups that are submitted, complete in any order
// and are accepted or dropped, so a client in another process would change nothing here; but the policy
// stands still while a batch is collected, and what is left in flight when the batch is full is aborted, so
// every rollout is of one policy.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "client/policy_client.h"
#include "orchestrator/buffer.h"
#include "orchestrator/conversations.h"
#include "orchestrator/environments.h"

namespace rlcpp::orchestrator {

struct SchedulerOptions {
  std::int64_t batch_size = 128;  // rollouts
  std::int64_t rollouts_per_example = 1;
  double oversampling_factor = 1.0;
  std::int64_t seq_len = 2048;  // prompt and completion
  SamplingSection sampling;
  std::vector<std::int32_t> stop_ids;
  bool skip_verification = false;
  std::uint64_t seed = 42;
  client::WaitLimits wait;
};

class Scheduler {
 public:
  // All outlive the scheduler.
  Scheduler(client::PolicyClient& client, const Environments& environments, Buffer& buffer,
            SchedulerOptions options);

  struct Batch {
    std::vector<Group> groups;  // by id; advantages not yet set
    std::int64_t cancelled_rollouts = 0, dropped_groups = 0, too_long = 0;
    double score_seconds = 0;
  };
  // progress(rollouts accepted, rollouts wanted), after each poll; may be empty.
  Batch collect(const std::function<void(std::int64_t, std::int64_t)>& progress);

  // The next group's id: with the buffer's state, all that the scheduler has to remember.
  std::int64_t next_group() const { return next_group_; }
  void set_next_group(std::int64_t id) { next_group_ = id; }

 private:
  void refill(std::int64_t missing_groups, Batch& batch);
  Group next_example(Batch& batch);
  void finish(Group group, Batch& batch);

  client::PolicyClient& client_;
  const Environments& environments_;
  Buffer& buffer_;
  SchedulerOptions options_;
  std::int64_t next_group_ = 0;
  Conversations conversations_;
  struct Scored {
    Example example;
    std::vector<double> rewards;
  };
  std::map<std::int64_t, Scored> scored_;  // of the batch being collected, by group
};

}  // namespace rlcpp::orchestrator
