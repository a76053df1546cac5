#include "app/run_watch_config.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::app {

void WandbExtrasSection::describe(config::Schema& s) {
  s.field("samples", samples, "Send a table of up to eight rollouts.");
  s.field("distributions", distributions, "Send histograms of rewards, advantages and lengths.");
  s.field("interval", interval, "Every how many steps.").at_least(1).in("steps");
}

void WandbSection::describe_keys(config::Schema& s, bool extras) {
  s.field("project", project, "Project of the run.");
  s.field("name", name, "Name of the run; None: one that Weights & Biases makes up.");
  s.field("offline", offline,
          "Write everything to wandb/ of the run directory; `wandb sync` sends it later.");
  s.field("id", id, "Id of the run; None: a new one, and that of the run before when it is resumed.");
  s.field("python", python, "The Python that has the package wandb.");
  if (extras) s.section("log_extras", log_extras, "What is sent of the rollouts; None: nothing.");
}

void HeartbeatSection::describe(config::Schema& s) {
  s.field("url", url, "Address that is asked for (GET) after every step; what it answers does not matter.");
}

void MetricsServerSection::describe(config::Schema& s) {
  s.field("port", port, "Port of /metrics and /health; 0: a free one, which the log names.")
      .at_least(0)
      .at_most(65535);
  s.field("host", host, "Address to listen on; 0.0.0.0: all of this machine.");
}

namespace {

template <class Wandb>
void describe_wandb(config::Schema& s, std::optional<Wandb>& section) {
  s.section(
      "wandb", section,
      "Send metrics to Weights & Biases, through Python's package wandb; without the package the run goes "
      "on, and says so. None: off.");
}

void describe_heartbeat(config::Schema& s, std::optional<HeartbeatSection>& section) {
  s.section("heartbeat", section, "Tell a monitor that the run lives; None: off.");
}

}  // namespace

void WatchSection::describe_common(config::Schema& s) {
  describe_heartbeat(s, heartbeat);
  s.section("metrics_server", metrics_server, "Gauges of the newest step for Prometheus; None: off.");
  s.field(
      "trace_path", trace_path,
      "Directory for trace_0.json: what each step spent its time on, as a Chrome trace (chrome://tracing, "
      "ui.perfetto.dev). Needs max_steps below 10, as in the reference; None: off.");
  s.field(
      "memory_profiler_path", memory_profiler_path,
      "Directory for plan.json, the regions of the memory plan with place and size, and usage.jsonl, what "
      "the process holds after each step; None: off.");
}

void WatchSection::describe_trainer(config::Schema& s) {
  describe_wandb(s, wandb);
  describe_common(s);
}

void WatchSection::describe_rl(config::Schema& s) {
  describe_wandb(s, rollout_wandb);
  describe_common(s);
}

void WatchSection::describe_orchestrator(config::Schema& s) {
  describe_wandb(s, rollout_wandb);
  describe_heartbeat(s, heartbeat);
  for (const char* key : {"metrics_server", "trace_path", "memory_profiler_path"})
    s.refused(key, fmt::format("{} is of the trainer: set it there", key));
}

void WatchSection::validate(std::optional<std::int64_t> max_steps) const {
  if (heartbeat.has_value() && !heartbeat->url.starts_with("http://") &&
      !heartbeat->url.starts_with("https://")) {
    throw bad_input(heartbeat->url.empty()
                        ? "heartbeat.url is not set"
                        : fmt::format("heartbeat.url = \"{}\" is no address", heartbeat->url),
                    "it is asked for over HTTP after every step",
                    "set heartbeat.url to http://... or https://..., or remove the section heartbeat");
  }
  if (trace_path.has_value() && (!max_steps.has_value() || *max_steps >= kTraceSteps)) {
    throw bad_input(
        fmt::format("trace_path needs max_steps below {}", kTraceSteps),
        max_steps.has_value() ? fmt::format("it is {}", *max_steps) : std::string("max_steps is not set"),
        "set max_steps for a short run, or remove trace_path");
  }
}

}  // namespace rlcpp::app
