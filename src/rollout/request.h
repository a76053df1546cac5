// What goes into the rollout engine and what comes out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/sampling.h"

namespace rlcpp::rollout {

enum class FinishReason : std::uint8_t { kStop, kLength, kAborted };
std::string_view name_of(FinishReason reason);

// n samples of one prompt: the prompt is prefilled once and its pages are shared.
struct GroupRequest {
  std::int64_t id = 0;
  std::vector<std::int32_t> prompt;
  std::int32_t n = 1;
  std::int32_t max_tokens = 128;
  std::int32_t min_tokens = 0;
  ops::SamplingParams sampling;
  std::vector<std::uint64_t> seeds;          // one a sample: the result depends on nothing else
  std::vector<std::int32_t> stop_ids;        // the stop id is part of the output
  std::vector<std::string> stop_strings;     // matched on decoded bytes; the text up to and including it is kept
};

// Every token is stored as (id, log-probability it was sampled with, version of the policy).
struct SampledSequence {
  std::int64_t group = 0;
  std::int32_t sample = 0;
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;
  std::vector<std::int64_t> versions;
  FinishReason finish = FinishReason::kStop;
};

}  // namespace rlcpp::rollout
