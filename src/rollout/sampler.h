// From hidden states to tokens: logits of the rows that sample and no others, in chunks, then a draw for
// each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/weights.h"
#include "ops/sampling.h"
#include "rollout/request.h"

namespace rlcpp::rollout {

struct SamplerRegions {
  RegionId hidden, logits, temperatures, lse;
};
// Rows of logits at once: max_rows, or as many as fit 64 MiB.
SamplerRegions plan_sampler(const model::ModelConfig& model, std::int64_t max_rows, MemoryPlan& plan);

// One token to draw.
struct Draw {
  std::int32_t row = 0;  // of `hidden`
  const GroupRequest* request = nullptr;
  std::uint64_t seed = 0;
  std::int64_t index = 0;              // of the output token
  std::span<const std::int32_t> seen;  // prompt and output so far
};

// True if the request's stop ids may not be drawn yet.
bool masks_stops(const Draw& draw);
// The error for a row of logits whose log sum exp is `lse`.
Error not_finite(const Draw& draw, float lse);

class Sampler {
 public:
  Sampler(const Arena& arena, const SamplerRegions& regions);

  // hidden [T, H] after the final norm; head [V, H] and its packed form (may be empty). tokens[i] is drawn
  // for draws[i] and depends on nothing but that draw. Throws runtime_failure if a row of logits is not
  // finite.
  void run(const ops::Context& ctx, const Tensor& hidden, const Tensor& head, const Tensor& packed,
           std::span<const Draw> draws, std::span<ops::SampledToken> tokens);

 private:
  std::size_t run_chunk(const ops::Context& ctx, const Tensor& hidden, const Tensor& head,
                        const Tensor& packed, std::span<const Draw> draws,
                        std::span<ops::SampledToken> tokens);

  Tensor hidden_;                   // [R, H]
  Tensor logits_;                   // [R, V]
  Tensor temperatures_;             // [R]
  Tensor lse_;                      // [R]
  std::vector<std::int64_t> rows_;  // of logits_, for each draw of a chunk
};

}  // namespace rlcpp::rollout
