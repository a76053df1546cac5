#include "rollout/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "ops/head.h"

namespace rlcpp::rollout {

SamplerRegions plan_sampler(const model::ModelConfig& model, std::int64_t max_rows, MemoryPlan& plan) {
  constexpr std::int64_t kMostElements = std::int64_t{16} << 20;
  const std::int64_t rows = std::clamp<std::int64_t>(kMostElements / model.vocab_size, 1, max_rows);
  SamplerRegions regions;
  regions.hidden =
      plan.add(MemoryUse::kWorkspace, "engine.sampled_hidden", DType::kF32, {rows, model.hidden_size});
  regions.logits = plan.add(MemoryUse::kLogits, "engine.logits", DType::kF32, {rows, model.vocab_size});
  regions.temperatures = plan.add(MemoryUse::kWorkspace, "engine.temperatures", DType::kF32, {rows});
  regions.lse = plan.add(MemoryUse::kWorkspace, "engine.lse", DType::kF32, {rows});
  return regions;
}

Sampler::Sampler(const Arena& arena, const SamplerRegions& regions)
    : hidden_(arena[regions.hidden]),
      logits_(arena[regions.logits]),
      temperatures_(arena[regions.temperatures]),
      lse_(arena[regions.lse]) {}

void Sampler::run(const ops::Context& ctx, const Tensor& hidden, const Tensor& head, const Tensor& packed,
                  std::span<const Draw> draws, std::span<ops::SampledToken> tokens) {
  RLCPP_CHECK(draws.size() == tokens.size());
  while (!draws.empty()) {
    const std::size_t done = run_chunk(ctx, hidden, head, packed, draws, tokens);
    draws = draws.subspan(done);
    tokens = tokens.subspan(done);
  }
}

bool masks_stops(const Draw& draw) {
  return draw.index < draw.request->min_tokens && !draw.request->stop_ids.empty();
}

namespace {

// The row of logits is only read, so siblings that draw from one hidden state may share it.
bool reads_only(const Draw& draw) {
  return draw.request->sampling.plain() && !masks_stops(draw);
}

void forbid_stops(const Draw& draw, float* row) {
  for (const std::int32_t id : draw.request->stop_ids) row[id] = -std::numeric_limits<float>::infinity();
}

}  // namespace

Error not_finite(const Draw& draw, float lse) {
  return runtime_failure(
      fmt::format("the logits of request {} are not finite at output token {}", draw.request->id, draw.index),
      fmt::format("log sum exp over the vocabulary is {}", lse),
      "look for a step whose loss or gradient norm exploded before this policy");
}

// As many draws as there are rows of logits. Returns their number.
std::size_t Sampler::run_chunk(const ops::Context& ctx, const Tensor& hidden, const Tensor& head,
                               const Tensor& packed, std::span<const Draw> draws,
                               std::span<ops::SampledToken> tokens) {
  const auto width = static_cast<std::size_t>(hidden_.dim(1));
  const auto vocab = static_cast<std::size_t>(logits_.dim(1));
  std::int64_t rows = 0;
  rows_.clear();
  for (std::size_t i = 0; i < draws.size(); ++i) {
    const Draw& draw = draws[i];
    const bool shared =
        i > 0 && draw.row == draws[i - 1].row && draw.request == draws[i - 1].request && reads_only(draw);
    if (!shared) {
      if (rows == hidden_.dim(0)) break;
      const auto row = static_cast<std::size_t>(rows);
      std::memcpy(hidden_.f32() + row * width, hidden.f32() + static_cast<std::size_t>(draw.row) * width,
                  width * sizeof(float));
      temperatures_.f32()[row] = draw.request->sampling.plain() ? draw.request->sampling.temperature : 1.0F;
      ++rows;
    }
    rows_.push_back(rows - 1);
  }

  const Tensor logits = logits_.rows(0, rows);
  ops::head_logits(ctx, logits, hidden_.rows(0, rows), head, packed, temperatures_.rows(0, rows));
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (!masks_stops(draws[i])) continue;
    forbid_stops(draws[i], logits.f32() + static_cast<std::size_t>(rows_[i]) * vocab);
  }
  ops::head_statistics(ctx, lse_.rows(0, rows), Tensor(), logits);

  const auto draw_one = [&](std::size_t i) {
    const Draw& draw = draws[i];
    const auto row = static_cast<std::size_t>(rows_[i]);
    const float lse = lse_.f32()[row];
    if (!std::isfinite(lse)) throw not_finite(draw, lse);
    const float uniform = ops::draw_uniform(draw.seed, draw.index);
    tokens[i] =
        ops::sample_row({logits.f32() + row * vocab, vocab}, lse, draw.request->sampling, draw.seen, uniform);
  };
  // A task is worth waking a thread for: some ten thousand logits.
  const std::size_t block = std::max<std::size_t>(1, 16384 / vocab);
  const std::size_t count = rows_.size();
  ctx.pool->parallel_for(static_cast<std::int64_t>((count + block - 1) / block), [&](std::int64_t task) {
    const std::size_t begin = static_cast<std::size_t>(task) * block;
    for (std::size_t i = begin; i < std::min(begin + block, count); ++i) draw_one(i);
  });
  return count;
}

}  // namespace rlcpp::rollout
