// Choosing a token from a row of logits. The transforms follow vLLM's order: repetition penalty on raw
// logits, division by temperature, min-p, top-k, top-p; the log-probability returned is that of the
// distribution sampled from.
#pragma once

#include <span>

#include "ops/context.h"

namespace rlcpp::ops {

struct SamplingParams {
  float temperature = 1.0F;         // 0: greedy
  std::int32_t top_k = -1;          // -1: off
  float top_p = 1.0F;               // 1: off
  float min_p = 0.0F;               // 0: off
  float repetition_penalty = 1.0F;  // 1: off

  // True if the distribution sampled from is softmax(logits / temperature): what training needs.
  bool plain() const {
    return temperature > 0 && top_k <= 0 && top_p >= 1 && min_p <= 0 && repetition_penalty == 1;
  }
};

struct SampledToken {
  std::int32_t id = 0;
  float logprob = 0;
};

// One row. logits [V] f32: already divided by the temperature when params.plain() (from head_logits), with
// `lse` from head_statistics; raw otherwise (head_logits with temperature 1, and its lse), and then
// overwritten. `seen`: prompt and output ids for the repetition penalty, which divides positive logits and
// multiplies negative ones, once an id. `uniform` in [0, 1): the inverse-CDF draw runs over the vocabulary in
// id order with one fixed order of sums, so the choice depends on the row and on `uniform` alone.
// Ties: all tokens equal to the k-th stay; top-p keeps the lower id first, and a token as long as those
// before it weigh less than top_p. Greedy takes the lowest id of the maximum and returns its log-probability
// at temperature 1, after the penalty. Throws runtime_failure if the row is not finite (minus infinity
// apart).
SampledToken sample_row(std::span<float> logits, float lse, const SamplingParams& params,
                        std::span<const std::int32_t> seen, float uniform);

// One raw row of logits [V] f32 of the host, which is overwritten, whatever `params` are. A row that is not
// finite gets id -1 and its log sum exp.
SampledToken sample_raw_row(std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> seen, float uniform);

// Many rows where they lie: logits [R, V] f32 raw, as head_logits leaves them without temperatures, and only
// read. ids [R] i32 and logprobs [R] f32 are drawn with temperatures [R] and uniforms [R], both f32, from
// softmax(logits / temperature); temperature 0: as sample_row() is greedy; below 0: the row is left out
// (ops/shaped_rows.h draws it). A row that is not finite or left out gets id -1. On a GPU the draw has a
// fixed order of sums too, another one than the CPU's.
void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms);

// ids[i] = drawn[sources[i]] where sources[i] is not negative, and stays where it is; all i32, ids and
// sources [T], drawn [R]. For a forward that is asked for before the host has seen what was drawn; -1, drawn
// from a row that is not finite, becomes 0.
void take_sampled(const Context& ctx, const Tensor& ids, const Tensor& sources, const Tensor& drawn);

// The draw for output token `index` of a request: a pure function of its seed, whatever else is in the batch.
float draw_uniform(std::uint64_t seed, std::int64_t index);

}  // namespace rlcpp::ops
