#include "env/split.h"

#include <fmt/format.h>

#include <numeric>
#include <string_view>
#include <unordered_set>

#include "base/rng.h"

namespace rlcpp::env {
namespace {

// Keeps the permutation apart from other uses of the same seed.
constexpr std::uint64_t kSplitStream = 0x51;

}  // namespace

SplitArguments SplitArguments::read(Arguments& arguments) {
  SplitArguments out;
  out.split = arguments.text("split", out.split);
  out.holdout = arguments.integer("holdout", out.holdout, 0, INT64_MAX);
  out.seed = static_cast<std::uint64_t>(arguments.integer("seed", 0, 0, INT64_MAX));
  if (out.split != "train" && out.split != "eval" && out.split != "all") {
    throw arguments.refusal("split", "it is \"" + out.split + "\"", "use \"train\", \"eval\" or \"all\"");
  }
  if (out.split == "eval" && out.holdout == 0) {
    throw arguments.refusal("split", "nothing is held out for \"eval\"",
                            "set args.holdout to the number of prompts to hold out, here and for training");
  }
  return out;
}

std::vector<std::int64_t> split_indices(const std::vector<std::string>& prompts, const SplitArguments& split,
                                        const std::string& environment) {
  std::vector<std::int64_t> all(prompts.size());
  std::iota(all.begin(), all.end(), 0);
  if (split.holdout == 0 || split.split == "all") return all;

  std::vector<std::int64_t> order = all;
  Rng rng(split.seed, kSplitStream);
  shuffle(order, rng);
  std::unordered_set<std::string_view> held_out;
  std::vector<std::int64_t> eval;
  for (const std::int64_t index : order) {
    if (static_cast<std::int64_t>(eval.size()) == split.holdout) break;
    if (held_out.insert(prompts[static_cast<std::size_t>(index)]).second) eval.push_back(index);
  }
  std::vector<std::int64_t> train;
  for (const std::int64_t index : all) {
    if (!held_out.contains(prompts[static_cast<std::size_t>(index)])) train.push_back(index);
  }
  if (static_cast<std::int64_t>(eval.size()) < split.holdout || train.empty()) {
    throw bad_input(
        fmt::format("environment '{}' cannot hold out {} prompts", environment, split.holdout),
        fmt::format("it has {} tasks, of which {} would remain for training", prompts.size(), train.size()),
        "lower args.holdout or give more data");
  }
  return split.split == "eval" ? eval : train;
}

}  // namespace rlcpp::env
