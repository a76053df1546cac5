// rlcpp bench rollout: the rollout engine on loads of known size, against what the device could do at best.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/bench_engine.h"
#include "app/command.h"
#include "bench/rollout_roofline.h"

namespace rlcpp::app {

struct BenchRolloutConfig : BenchEngineOptions {
  ModelSection model;
  std::string load = "all";
  double scale = 1;
  std::int64_t repeats = 1, sequences = 0;
  std::optional<std::int64_t> warm_up;
  std::optional<std::string> output_json;
  ops::SamplingParams sampling;

  void describe(config::Schema& s);
  void validate() const;  // throws bad_input
};

// One run of a load. The parts of `seconds` add up to it.
struct RolloutPass {
  double seconds = 0;                // from the first request to the last token
  double forward = 0, sampling = 0;  // the engine's own account of a step
  double scheduler = 0;              // of a step, what is neither: plan, batch, bookkeeping
  double host = 0;                   // outside of steps: requests, and looking at what was sampled
  std::int64_t forwards = 0;         // steps that computed something
  double decode_seconds = 0;         // since every sequence has its first token
  std::int64_t decode_forwards = 0;  // in them
  std::int64_t prefill_tokens = 0, cached_tokens = 0, preemptions = 0, pages_peak = 0;
};

struct RolloutRow {
  bench::RolloutLoad load;
  std::vector<RolloutPass> passes;          // measured, in their order
  std::optional<bench::Roofline> roofline;  // none: the device is not known

  const RolloutPass& pass() const;  // the median by time
  double seconds() const { return pass().seconds; }
  // Tokens a second that the load is about: of completions, but of prompts for "prefill".
  double rate() const;
  // Of a decode step for "decode", of a forward for others.
  double step_ms() const;
  // Roofline over measured; 0: unknown. For "decode" of a decode step, for "prefill" and others of all.
  double ratio() const;
};

struct RolloutReport {
  std::string model, device, device_name, mode, dtype;
  bench::RolloutMachine machine;
  std::int64_t max_sequences = 0, max_batch_tokens = 0, page_size = 0, num_pages = 0;
  std::size_t planned_bytes = 0, peak_bytes = 0;
  std::vector<RolloutRow> rows;

  // Rate of groups with shared prompts over that of separate ones; 0: not both were run.
  double sharing() const;
};

// What is printed, and what a result file holds.
std::string rollout_text(const RolloutReport& report);
std::string rollout_json(const BenchRolloutConfig& config, const RolloutReport& report);
// Writes `json` to `path`, if there is one; folders that are missing are made. Prints it or, without --json,
// the text.
void give_result(const Invocation& invocation, const std::optional<std::string>& path,
                 const std::string& json, const std::string& text);

}  // namespace rlcpp::app
