// The `data` section of SFT: names and defaults of the reference (prime-rl trainer/sft/config.py, January
// 2026).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config/schema.h"

namespace rlcpp::data {

// Which roles' tokens are trained.
struct LossMaskConfig {
  bool system = false, user = false, assistant = true, tool = false;
  void describe(config::Schema& s);
  bool of(const std::string& role) const;  // unknown roles: false
};

struct DataConfig {
  std::string type = "sft";          // sft | fake
  std::string name;                  // a file, a directory, or an id of the hub
  std::vector<std::string> subsets;  // empty: the data set has none
  std::vector<std::string> splits = {"train"};
  std::vector<double> probabilities;  // one a pair of subset and split; empty: in turn
  std::string stopping_strategy = "all_exhausted";
  std::int64_t batch_size = 128;  // rows of seq_len tokens in an optimizer step
  std::int64_t seq_len = 128;
  std::int64_t micro_batch_size = 1;
  std::string pack_function = "cat";
  bool shuffle = true;
  std::int64_t seed = 0;
  LossMaskConfig loss_mask;
  std::string length = "fixed";          // fake: fixed | variable
  std::string input_ids = "increasing";  // fake: increasing | random
  std::string dump;                      // file that the packed rows of each step are written to; empty: none

  void describe(config::Schema& s);
  void validate() const;  // throws bad_input
  std::int64_t micro_batches() const { return batch_size / micro_batch_size; }
  std::int64_t micro_batch_tokens() const { return seq_len * micro_batch_size; }
};

}  // namespace rlcpp::data
