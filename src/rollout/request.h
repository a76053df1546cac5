// What goes into the rollout engine and what comes out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/sampling.h"

namespace rlcpp::rollout {

enum class FinishReason : std::uint8_t { kStop, kLength, kAborted };
std::string_view name_of(FinishReason reason);  // "stop", "length", "abort"

// n samples of one prompt: the prompt is prefilled once and its pages are shared.
struct GroupRequest {
  std::int64_t id = 0;
  std::vector<std::int32_t> prompt;
  std::int32_t n = 1;
  std::int32_t max_tokens = 128;
  // The first min_tokens tokens are never a stop id (the distribution is renormalised without them, so a
  // training run refuses it), and no stop string ends the sequence within them.
  std::int32_t min_tokens = 0;
  ops::SamplingParams sampling;
  std::vector<std::uint64_t> seeds;  // one a sample: the result depends on nothing else
  std::string adapter;               // by its name in the engine; empty: none
  // Pages of the cache are shared among requests of one salt alone, so that nobody learns from a request's
  // time what others have asked (vLLM's field of this name). Changes no token. Empty: shared with all that
  // have none.
  std::string cache_salt;
  std::vector<std::int32_t> stop_ids;  // the stop id is part of the output
  std::vector<std::string>
      stop_strings;  // matched on decoded bytes; the token that completes one is the last
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

// What a request is checked against.
struct RequestLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_model_len = 0;
  bool has_token_bytes = false;  // stop strings can be matched
};

// Throws bad_input with the group, the field, the value and the range if a field of the request is out of
// range.
void check_request(const GroupRequest& request, const RequestLimits& limits);

// A training run samples from softmax(logits / temperature) and nothing else, since that is the probability
// that the trainer computes. Throws bad_input naming the first setting that changes the distribution.
void require_trainable(const ops::SamplingParams& sampling);
void require_trainable(const GroupRequest& request);  // min_tokens too

}  // namespace rlcpp::rollout
