// The section "Rollouts" of the page: what rollout engines did, ours and peers, from the files that `rlcpp
// bench rollout` and tools/peers/transformers_generate.py write.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rlcpp::bench {

struct RolloutFigure {
  std::string load, variant;
  std::int64_t sequences = 0, prompt_tokens = 0, output_tokens = 0;
  double seconds = 0, tokens_per_second = 0, step_ms = 0;
  std::optional<double> ratio;              // roofline over measured
  std::map<std::string, double> time_line;  // seconds by part; empty: not known
};

struct RolloutFile {
  std::string engine, model_name, device_name, numeric_mode, dtype, timestamp;
  std::string commit;  // "60761b81"; of a peer its version
  std::vector<RolloutFigure> figures;
};

// Throws bad_input naming `where` and what is missing or cannot be.
RolloutFile rollouts_from_json(const std::string& text, const std::string& where);
// Every *.json of a directory, by file name; none if it is not there.
std::vector<RolloutFile> read_rollouts(const std::string& path);

// Markdown, the heading included; empty without files. A table a model and device: the loads in the order of
// the files, each with its engines, ours first. A peer's row says how many times as fast ours is on the same
// sequences and tokens, of the modes the fastest.
std::string render_rollouts(const std::vector<RolloutFile>& files);

}  // namespace rlcpp::bench
