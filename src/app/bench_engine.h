// The rollout engine of a benchmark: the options that `bench rollout` and `bench rl` share, and what they
// become.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "app/run_config.h"
#include "app/run_model.h"
#include "base/log.h"
#include "rollout/engine.h"
#include "tensor/arena.h"

namespace rlcpp::app {

struct BenchEngineOptions {
  std::string device = "auto", numeric_mode = "auto";
  std::int64_t max_sequences = 256, page_size = 16, threads = 0;
  std::optional<std::int64_t> max_batch_tokens, num_pages;
  std::optional<std::string> memory_limit;

  void describe_engine(config::Schema& s);
  void validate_engine() const;  // throws bad_input
  std::size_t memory_limit_bytes(Device on) const;
  // Of sequences of up to `longest` tokens; without num_pages, `pages` pages, or as many as `planned` leaves
  // room for in `limit` bytes.
  rollout::EngineConfig engine(const ops::Context& ctx, const model::ModelConfig& model, std::int64_t longest,
                               std::int64_t pages, const MemoryPlan& planned, std::size_t limit) const;
};

// The first lines of such a benchmark.
void log_bench_engine(Logger& log, const std::string& device, const ops::Context& ctx, const RunModel& model,
                      const MemoryPlan& plan, const rollout::EngineConfig& engine);

}  // namespace rlcpp::app
