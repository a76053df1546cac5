#include "rollout/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace rlcpp::rollout {

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAborted:
      return "abort";
  }
  return "?";
}

namespace {

void require(bool holds, const GroupRequest& request, const std::string& what, const std::string& because,
             const std::string& help) {
  if (!holds) throw bad_input(fmt::format("request {}: {}", request.id, what), because, help);
}

void check_tokens(const GroupRequest& request, const RequestLimits& limits) {
  const auto length = static_cast<std::int64_t>(request.prompt.size());
  require(length > 0, request, "prompt is empty", "sampling starts from at least one token",
          "put a beginning-of-text token or a template around it");
  require(length + 1 <= limits.max_model_len, request,
          fmt::format("prompt has {} tokens, which leaves no room for an answer", length),
          fmt::format("prompt and output together may have max_model_len = {} tokens", limits.max_model_len),
          "shorten the prompt or raise max_model_len");
  // The sentence is made for the first that is wrong alone: a prompt may have 100,000 tokens.
  const auto outside = [&](std::int32_t id) { return id < 0 || id >= limits.vocab_size; };
  if (const auto wrong = std::ranges::find_if(request.prompt, outside); wrong != request.prompt.end()) {
    require(false, request, fmt::format("prompt[{}] is token {}", wrong - request.prompt.begin(), *wrong),
            fmt::format("the vocabulary of the model has ids 0 to {}", limits.vocab_size - 1),
            "use the tokenizer that belongs to the model");
  }
  for (const std::int32_t id : request.stop_ids) {
    require(id >= 0 && id < limits.vocab_size, request, fmt::format("stop_ids holds token {}", id),
            fmt::format("the vocabulary of the model has ids 0 to {}", limits.vocab_size - 1),
            "use the tokenizer that belongs to the model");
  }
  const std::set<std::int32_t> stops(request.stop_ids.begin(), request.stop_ids.end());
  require(request.min_tokens <= 0 || static_cast<std::int64_t>(stops.size()) < limits.vocab_size, request,
          fmt::format("min_tokens is {} and stop_ids holds the whole vocabulary", request.min_tokens),
          "no token could be the first", "set min_tokens to 0 or remove stop_ids");
  for (const std::string& text : request.stop_strings) {
    require(!text.empty(), request, "stop_strings holds an empty string",
            "it would match before the first token", "remove it");
  }
  require(request.stop_strings.empty() || limits.has_token_bytes, request, "stop_strings cannot be matched",
          "the engine was made without the bytes of its tokens",
          "use stop_ids, or make the engine with a tokenizer");
}

void check_counts(const GroupRequest& request) {
  require(request.n >= 1, request, fmt::format("n is {}", request.n), "a group has at least one sample",
          "raise n");
  require(request.seeds.size() == static_cast<std::size_t>(request.n), request,
          fmt::format("seeds has {} entries for n = {} samples", request.seeds.size(), request.n),
          "every sample has a seed of its own", "give n seeds");
  require(request.max_tokens >= 1, request, fmt::format("max_tokens is {}", request.max_tokens),
          "at least one token is sampled", "raise max_tokens");
  require(request.min_tokens >= 0 && request.min_tokens <= request.max_tokens, request,
          fmt::format("min_tokens is {}", request.min_tokens),
          fmt::format("it must lie in 0 to max_tokens = {}", request.max_tokens), "change one of the two");
}

void check_sampling(const GroupRequest& request) {
  const ops::SamplingParams& s = request.sampling;
  // Logits divided by almost nothing overflow.
  require(std::isfinite(s.temperature) && (s.temperature == 0 || s.temperature >= 0.01F), request,
          fmt::format("temperature is {}", s.temperature), "it must be 0 (greedy) or a number from 0.01",
          "use 0 for the most probable token");
  require(s.top_k >= -1, request, fmt::format("top_k is {}", s.top_k),
          "it must be -1 or 0 (off), or at least 1", "use -1 to keep every token");
  require(s.top_p > 0 && s.top_p <= 1, request, fmt::format("top_p is {}", s.top_p),
          "it must be greater than 0 and at most 1 (off)", "use 1 to keep every token");
  require(s.min_p >= 0 && s.min_p <= 1, request, fmt::format("min_p is {}", s.min_p),
          "it must lie in 0 (off) to 1", "use 0 to keep every token");
  require(std::isfinite(s.repetition_penalty) && s.repetition_penalty > 0, request,
          fmt::format("repetition_penalty is {}", s.repetition_penalty),
          "it must be greater than 0; 1 is off", "use 1 for no penalty");
}

[[noreturn]] void refuse(const std::string& setting, const std::string& off) {
  throw bad_input(
      fmt::format("a training run cannot sample with {}", setting),
      "the trainer computes a token's probability under softmax(logits / temperature), which would not be "
      "the distribution it was sampled from",
      off);
}

}  // namespace

void check_request(const GroupRequest& request, const RequestLimits& limits) {
  check_tokens(request, limits);
  check_counts(request);
  check_sampling(request);
}

void require_trainable(const ops::SamplingParams& s) {
  if (!(s.temperature > 0)) {
    refuse(fmt::format("temperature = {}", s.temperature), "choose a temperature greater than 0");
  }
  if (s.top_k > 0) refuse(fmt::format("top_k = {}", s.top_k), "remove top_k (-1 is off)");
  if (s.top_p < 1) refuse(fmt::format("top_p = {}", s.top_p), "remove top_p (1 is off)");
  if (s.min_p > 0) refuse(fmt::format("min_p = {}", s.min_p), "remove min_p (0 is off)");
  if (s.repetition_penalty != 1) {
    refuse(fmt::format("repetition_penalty = {}", s.repetition_penalty),
           "remove repetition_penalty (1 is off)");
  }
}

void require_trainable(const GroupRequest& request) {
  require_trainable(request.sampling);
  if (request.min_tokens > 0)
    refuse(fmt::format("min_tokens = {}", request.min_tokens), "set min_tokens to 0");
}

}  // namespace rlcpp::rollout
