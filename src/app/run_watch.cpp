#include "app/run_watch.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include <fmt/format.h>

#include "app/run_clock.h"
#include "base/durable.h"
#include "monitor/append.h"
#include "monitor/prometheus.h"

namespace rlcpp::app {
namespace {

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Resident memory of this process; 0 if the system does not say.
std::size_t resident_bytes() {
  long pages = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  const int read = std::fscanf(file, "%ld %ld", &pages, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<std::size_t>(resident) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) : 0;
}

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  nlohmann::ordered_json out;
  out["device_bytes"] = plan.total_bytes();
  out["host_bytes"] = plan.host_bytes();
  out["regions"] = nlohmann::ordered_json::array();
  for (const MemoryPlan::Region& region : plan.regions()) {
    std::size_t bytes = size_of(region.type);
    for (const std::int64_t size : region.shape) bytes *= static_cast<std::size_t>(size);
    out["regions"].push_back({{"name", region.name},
                              {"use", name_of(region.use)},
                              {"type", name_of(region.type)},
                              {"shape", region.shape},
                              {"memory", on_host(region.use) ? "host" : "device"},
                              {"offset", region.offset},
                              {"bytes", bytes},
                              {"shares_bytes", region.shared}});
  }
  return out;
}

}  // namespace

RunWatch::RunWatch(const WatchSection& section, const WatchedRun& run, Logger& log) : log_(log) {
  durable::FileLayer& files = durable::system_files();
  if (section.heartbeat.has_value()) heartbeat_ = std::make_unique<Heartbeat>(section.heartbeat->url, log);
  if (section.metrics_server.has_value()) {
    const MetricsServerSection& server = *section.metrics_server;
    server_ = std::make_unique<MetricsServer>(server.host, static_cast<int>(server.port));
    log.info(fmt::format("gauges at http://{}:{}/metrics", server.host, server_->port()));
  }
  if (section.trace_path.has_value()) {
    durable::make_directories(files, *section.trace_path);
    trace_file_ = *section.trace_path + "/trace_0.json";
    trace_ = std::make_unique<monitor::Trace>("rlcpp " + run.producer);
    trace_->name_row(0, "step");
    trace_->name_row(1, "inside");
  }
  if (section.memory_profiler_path.has_value() && run.plan != nullptr) {
    durable::make_directories(files, *section.memory_profiler_path);
    durable::write_file(files, *section.memory_profiler_path + "/plan.json",
                        plan_json(*run.plan).dump(2) + "\n");
    usage_file_ = *section.memory_profiler_path + "/usage.jsonl";
    durable::write_file(files, usage_file_, "");
    planned_ = run.plan->total_bytes();
  }
  if (const WandbSection* wandb = section.chosen_wandb(); wandb != nullptr && !run.directory.empty()) {
    wandb_ = std::make_unique<WandbRelay>(*wandb, run.directory, run.producer, run.first_step,
                                          run.configuration_json, log);
  }
}

void RunWatch::span(std::string_view name, double begin, double end, int row) {
  if (trace_ != nullptr) trace_->span(name, begin, end, row);
}

void RunWatch::step(std::int64_t step, const monitor::Metrics& metrics) {
  if (heartbeat_ != nullptr) heartbeat_->beat();
  if (server_ != nullptr) server_->publish(monitor::trainer_gauges(step, unix_seconds(), metrics));
  const double peak = metrics.get("perf/peak_memory");
  if (!usage_file_.empty()) {
    const nlohmann::ordered_json line = {{"step", step},
                                         {"planned_bytes", planned_},
                                         {"peak_bytes", static_cast<std::size_t>(peak * 0x1p30)},
                                         {"resident_bytes", resident_bytes()}};
    monitor::append(durable::system_files(), usage_file_, line.dump() + "\n");
  }
  if (trace_ != nullptr) {
    trace_->counter("peak memory, GiB", monotonic_seconds(), peak);
    // Whole after every step: a trace is a few steps, and the run may end in the middle.
    durable::write_file(durable::system_files(), trace_file_, trace_->json());
  }
}

void RunWatch::finish(int exit_code) {
  if (trace_ != nullptr) log_.info("trace in " + trace_file_);
  if (wandb_ != nullptr) wandb_->finish(exit_code);
}

}  // namespace rlcpp::app
