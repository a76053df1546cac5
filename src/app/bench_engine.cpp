#include "app/bench_engine.h"

#include <algorithm>

#include <fmt/format.h>

#include "app/run_engine.h"
#include "monitor/console.h"

namespace rlcpp::app {

void BenchEngineOptions::describe_engine(config::Schema& s) {
  s.field("device", device, "Where to run: auto, cpu, cuda or cuda:N.");
  s.field("numeric_mode", numeric_mode, "As numeric_mode of a run.").one_of({"auto", "exact", "fast"});
  s.field("memory_limit", memory_limit, "As memory_limit of a run.");
  s.field("threads", threads, "CPU threads; 0: one a core.").at_least(0).at_most(1024);
  s.field("max_sequences", max_sequences, "Sequences computed at once.").at_least(1);
  s.field("max_batch_tokens", max_batch_tokens,
          "Tokens of one forward of the engine; None: 16384 on a GPU, 2048 on a CPU.")
      .at_least(1)
      .in("tokens");
  s.field("page_size", page_size, "Tokens of a page of the cache.").at_least(1).in("tokens");
  s.field("num_pages", num_pages, "Pages of the cache; None: as many as are used, or as fit.").at_least(1);
}

void BenchEngineOptions::validate_engine() const {
  if (memory_limit.has_value()) parse_bytes(*memory_limit, "memory_limit");
}

std::size_t BenchEngineOptions::memory_limit_bytes(Device on) const {
  RunSection run;
  run.device = device;
  run.memory_limit = memory_limit;
  return run.memory_limit_bytes(on);
}

rollout::EngineConfig BenchEngineOptions::engine(const ops::Context& ctx, const model::ModelConfig& model,
                                                 std::int64_t longest, std::int64_t pages,
                                                 const MemoryPlan& planned, std::size_t limit) const {
  rollout::EngineConfig out;
  out.max_sequences = max_sequences;
  out.max_batch_tokens = max_batch_tokens.value_or(ctx.on_gpu() ? 16384 : 2048);
  out.page_size = page_size;
  out.max_model_len = longest;
  const std::int64_t least = (longest + page_size - 1) / page_size;
  out.num_pages =
      num_pages.value_or(std::min(std::max(pages, least), pages_that_fit(ctx, model, out, planned, limit)));
  return out;
}

void log_bench_engine(Logger& log, const std::string& device, const ops::Context& ctx, const RunModel& model,
                      const MemoryPlan& plan, const rollout::EngineConfig& engine) {
  log.info(fmt::format("device: {}, numeric mode {}", device, name_of(ctx.mode)));
  log.info("model: " + model.text);
  log.info(fmt::format("memory: {} planned, {} pages of {} tokens",
                       monitor::gib(static_cast<double>(plan.total_bytes())), engine.num_pages,
                       engine.page_size));
}

}  // namespace rlcpp::app
