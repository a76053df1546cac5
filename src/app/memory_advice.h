// What to change when a plan does not fit: every suggestion was planned, and fits.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/run_config.h"
#include "tensor/arena.h"
#include "train/trainer.h"

namespace rlcpp::app {

// The part of a configuration that decides its plan, and that a suggestion may change.
struct Plannable {
  ModelSection model;
  train::OptimConfig optim;
  std::int64_t seq_len = 0;                          // of the trainer's rows
  std::int64_t micro_batch_size = 1;                 // rows that are computed together
  std::int64_t num_pages = 0, max_batch_tokens = 0;  // of a rollout engine; 0: there is none
};

// What the suggestions are called, and what they may not go below.
struct AdviceKeys {
  std::string model = "--model.", optim = "--optim.";
  std::string seq_len = "--data.seq-len";
  std::string seq_len_cost = "shorter rows, so another batch";
  bool shorter_is_same = false;  // shorter rows give the same result
  std::int64_t least_seq_len = 128, least_pages = 1, least_batch_tokens = 64;
  std::int64_t parameters = 0;     // of the model, for the cost of moving them
  bool rows_have_seq_len = false;  // what is beside the plan (MemoryLimits) is rows: shorter ones take less
};

struct MemoryLimits {
  Device device;
  std::size_t limit = 0;   // bytes on the device; 0: none
  std::size_t host = 0;    // bytes of the host's memory that a plan for a GPU may take; 0: none
  std::size_t beside = 0;  // bytes of `limit` that are needed beside the plan: suggestions leave them free
  std::string whose = {};  // " for each of 2 ranks": what a refusal says of its numbers
  std::size_t whole = 0;  // of several ranks: what they and what is beside them may take together; 0: unknown
  bool fits(const MemoryPlan& plan) const {
    return (limit == 0 || plan.total_bytes() <= limit) && (host == 0 || plan.host_bytes() <= host);
  }
  // It fits with what is beside it.
  bool leaves_room(const MemoryPlan& plan) const {
    return fits(plan) && (limit == 0 || plan.total_bytes() + beside <= limit);
  }
};

// The limits of a run whose batches take `rows` bytes of the host; `absent`: the device is not here.
MemoryLimits memory_limits(Device device, bool absent, std::size_t limit, double rows);

// `config` with the adapters that `p` asks for: what a suggestion is planned with.
model::ModelConfig planned_shape(model::ModelConfig config, const Plannable& p);

// Lines such as "--model.ac.mode selective: 17.90 GiB, about 2 % slower": the single changes that make the
// plan fit, least harm first, each in its mildest form that does; where there is none, combinations of as few
// as possible; where nothing does, one line with the smallest plan. `plan` may throw for what cannot be.
std::vector<std::string> memory_advice(const Plannable& now, const AdviceKeys& keys,
                                       const MemoryLimits& limits,
                                       const std::function<MemoryPlan(const Plannable&)>& plan);

// "9.7 GiB", "512.00 MiB"; with the host's part of the plan, if it has one.
std::string size_text(const MemoryPlan& plan);

// Throws environment_error with the missing GiB, memory_advice() and the lines of `more` (other ranks) if
// plan(now) does not fit.
void require_memory(const Plannable& now, const AdviceKeys& keys, const MemoryLimits& limits,
                    const std::function<MemoryPlan(const Plannable&)>& plan,
                    const std::function<std::vector<std::string>()>& more = nullptr);

}  // namespace rlcpp::app
