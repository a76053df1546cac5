// The section "RL steps" of the page: whole steps of `rlcpp rl`, rollouts and training on the same GPUs, from
// the files that `rlcpp bench rl` writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rlcpp::bench {

struct RlFile {
  std::string model_name, device_name, numeric_mode, commit;
  std::optional<std::int64_t> lora_rank;
  std::int64_t num_gpus = 1, sequences = 0, prompt_tokens = 0, output_tokens = 0, seq_len = 0;
  double step = 0;                                                  // seconds; the next four are its parts
  double rollouts = 0, training = 0, publication = 0, waiting = 0;  // seconds
  std::optional<double> forward;  // seconds of the rows' forward alone; older files do not have it
  double tokens_per_second = 0, output_tokens_per_second = 0, training_tokens_per_second = 0;
  double mismatch_kl = 0;  // the largest of the steps
  double peak_bytes = 0;   // of a GPU
};

// Throws bad_input naming `where` and what is missing or cannot be.
RlFile rl_from_json(const std::string& text, const std::string& where);
// Every *.json of a directory, by file name; none if it is not there.
std::vector<RlFile> read_rl(const std::string& path);

// Markdown, the heading included; empty without files. A table a model and device: in the order of the files,
// with rows of the same work, as that of both modes is, side by side. The column Forward is there where a row
// of the table has it, in mode exact with how much longer it is than in fast.
std::string render_rl(const std::vector<RlFile>& files);

}  // namespace rlcpp::bench
