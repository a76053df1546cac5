// Which tasks are held out for evaluation, chosen by content so that no prompt is on both sides.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "env/arguments.h"

namespace rlcpp::env {

// Arguments common to environments with a fixed set of tasks:
//   split    "train" (default), "eval" or "all"
//   holdout  number of prompts that only "eval" sees (default 0: "train" is everything)
//   seed     decides which (default 0)
struct SplitArguments {
  std::string split = "train";
  std::int64_t holdout = 0;
  std::uint64_t seed = 0;
  static SplitArguments read(Arguments& arguments);
};

// Indices into `prompts` of the chosen split, in the order of `prompts` for train and all. Eval: `holdout`
// different prompts in an order drawn by the seed, so that its first n are a fair sample. A prompt in eval is
// not in train, even if it occurs twice. Throws bad_input if too few different prompts exist or the split is
// empty.
std::vector<std::int64_t> split_indices(const std::vector<std::string>& prompts, const SplitArguments& split,
                                        const std::string& environment);

}  // namespace rlcpp::env
