// The loads of `rlcpp bench rollout`: what is asked of a rollout engine, whichever it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::bench {

// `n` completions of exactly max_tokens tokens of one prompt; tokens that end a turn are ignored.
struct RolloutRequest {
  std::vector<std::int32_t> prompt;
  std::int64_t n = 1, max_tokens = 1;
};

struct RolloutLoad {
  std::string name;     // nano | groups | decode | prefill
  std::string variant;  // "shared prompts", "batch 8"; empty: there is one
  bool shares = false;  // the completions of a request share the computation of its prompt
  std::vector<RolloutRequest> requests;

  std::int64_t sequences() const;
  std::int64_t prompt_tokens() const;  // of all sequences, each with its prompt
  std::int64_t output_tokens() const;
  std::int64_t longest() const;  // tokens of a prompt and its completion
  // Pages of `page_size` tokens that all sequences take together; shared prompts count for each.
  std::int64_t pages(std::int64_t page_size) const;
};

// How much of a load is run, and what its tokens may be.
struct LoadScale {
  double fraction = 1;          // of the sequences and of the lengths, in (0, 1]; at least one of each
  std::int64_t vocabulary = 0;  // ids are taken modulo this
  std::int64_t sequences = 0;   // the first of rollout_loads(), but of decode; 0: all
};

// bench.py of nano-vllm: random.seed(0), then 256 prompts of 100 to 1024 ids below 10001, then 100 to 1024
// output tokens for each: 142,827 tokens in, 133,966 out.
RolloutLoad nano_load(const LoadScale& scale);
// 16 groups of 16 completions of 512 tokens, of prompts of 512. Not shared: each completion has a prompt of
// its own, which differs from the others in its first token, so that no page of one can serve another.
RolloutLoad groups_load(const LoadScale& scale, bool shared);
// `batch` prompts of 128 tokens, 256 out: what the last sequences of a batch are like.
RolloutLoad decode_load(const LoadScale& scale, std::int64_t batch);
// 64 prompts of 1024 tokens, one token out.
RolloutLoad prefill_load(const LoadScale& scale);

// The loads that `name` means, in the order in which they are run: one by its name, or all. Groups come
// without and with shared prompts, decode with 1 and 8 sequences. Throws bad_input for another name.
std::vector<RolloutLoad> rollout_loads(const std::string& name, const LoadScale& scale);

}  // namespace rlcpp::bench
