#include "ops/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kSamplingBlock = 256;  // as exp_block_sums has it

// The smallest id whose cumulative probability exceeds uniform * total, over softmax(logits) with its lse.
// -1: the row is not finite. Sums of blocks first, then the elements of one block, so that a row costs one
// exponential an element.
std::int32_t draw_plain(const Kernels& kernels, std::span<const float> logits, float lse, float uniform) {
  const auto n = static_cast<std::int64_t>(logits.size());
  const std::int64_t blocks = (n + kSamplingBlock - 1) / kSamplingBlock;
  float* sums = thread_scratch(Scratch::kSampling, blocks + kSamplingBlock);
  float* e = sums + blocks;
  kernels.exp_block_sums(sums, logits.data(), n, lse);
  double total = 0;
  for (std::int64_t b = 0; b < blocks; ++b) total += static_cast<double>(sums[b]);
  if (!std::isfinite(total)) return -1;
  const double goal = static_cast<double>(uniform) * total;
  double before = 0;
  std::int64_t block = 0;
  while (block + 1 < blocks && before + static_cast<double>(sums[block]) <= goal) {
    before += static_cast<double>(sums[block]);
    ++block;
  }
  // Rounding may leave the goal beyond the last weight: then the last id that has any probability is meant.
  while (block > 0 && sums[block] == 0.0F) --block;
  const std::int64_t begin = block * kSamplingBlock;
  const std::int64_t count = std::min(kSamplingBlock, n - begin);
  kernels.exp_minus(e, logits.data() + begin, count, lse);
  std::int64_t chosen = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    if (e[i] <= 0.0F) continue;
    chosen = i;
    before += static_cast<double>(e[i]);
    if (before > goal) break;
  }
  RLCPP_CHECK(chosen >= 0);
  return static_cast<std::int32_t>(begin + chosen);
}

// Each id once, however often it was seen: divides positive logits, multiplies negative ones (Keskar et al.
// 2019).
void penalise(std::span<float> logits, float penalty, std::span<const std::int32_t> seen) {
  thread_local std::vector<std::int32_t> ids;
  ids.assign(seen.begin(), seen.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::int32_t id : ids) {
    RLCPP_CHECK(id >= 0 && id < static_cast<std::int32_t>(logits.size()));
    float& z = logits[static_cast<std::size_t>(id)];
    z = z > 0 ? z / penalty : z * penalty;
  }
}

// Reduces `ids` (ascending) to those that may be drawn; e[id] = exp(z[id] - max).
void truncate(std::vector<std::int32_t>& ids, std::span<const float> z, const float* e,
              const SamplingParams& params) {
  if (params.min_p > 0) {
    std::erase_if(ids, [&](std::int32_t id) { return e[id] < params.min_p; });
  }
  const auto value = [&](std::int32_t id) { return z[static_cast<std::size_t>(id)]; };
  const auto k = static_cast<std::size_t>(std::max(params.top_k, 0));
  if (k > 0 && k < ids.size()) {
    // Ties with the k-th value stay, as in vLLM.
    thread_local std::vector<std::int32_t> order;
    order = ids;
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k - 1), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return value(a) > value(b); });
    const float threshold = value(order[k - 1]);
    std::erase_if(ids, [&](std::int32_t id) { return value(id) < threshold; });
  }
  if (params.top_p >= 1) return;
  double total = 0;
  for (const std::int32_t id : ids) total += static_cast<double>(e[id]);
  // By falling value (the lower id first among equals), a token stays while those before it weigh less than
  // top_p. Only as much of the order is sorted as is needed.
  const double limit = static_cast<double>(params.top_p) * total;
  double before = 0;
  std::size_t sorted = 0;
  std::size_t kept = 0;
  const auto first = [&](std::int32_t a, std::int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  };
  while (kept < ids.size() && (kept == 0 || before < limit)) {
    if (kept == sorted) {
      sorted = std::min(ids.size(), std::max<std::size_t>(64, 8 * sorted));
      const auto from = ids.begin() + static_cast<std::ptrdiff_t>(kept);
      std::partial_sort(from, ids.begin() + static_cast<std::ptrdiff_t>(sorted), ids.end(), first);
    }
    before += static_cast<double>(e[ids[kept]]);
    ++kept;
  }
  ids.resize(kept);
  std::sort(ids.begin(), ids.end());
}

// As sample_row(); id -1 if the row is not finite.
SampledToken draw_row(const Kernels& kernels, std::span<float> logits, float lse,
                      const SamplingParams& params, std::span<const std::int32_t> seen, float uniform) {
  const auto at = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  if (params.plain()) {
    const std::int32_t id = draw_plain(kernels, logits, lse, uniform);
    if (id < 0) return {-1, lse};
    return {id, at(id) - lse};
  }
  const auto n = static_cast<std::int64_t>(logits.size());
  if (params.repetition_penalty != 1.0F) {
    penalise(logits, params.repetition_penalty, seen);
    if (params.temperature <= 0) lse = kernels.row_statistics(logits.data(), n).lse;
  }
  if (params.temperature <= 0) {
    if (!std::isfinite(lse)) return {-1, lse};
    const auto best = std::max_element(logits.begin(), logits.end());
    return {static_cast<std::int32_t>(best - logits.begin()), *best - lse};
  }
  if (params.temperature != 1.0F) kernels.divide(logits.data(), n, params.temperature);
  const float max = *std::max_element(logits.begin(), logits.end());
  float* e = thread_scratch(Scratch::kSampling, n);
  kernels.exp_minus(e, logits.data(), n, max);
  thread_local std::vector<std::int32_t> ids;
  ids.clear();
  double all = 0;
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(n); ++id) {
    ids.push_back(id);
    all += static_cast<double>(e[id]);
  }
  if (!std::isfinite(all)) return {-1, NAN};  // before anything is ordered by value
  truncate(ids, logits, e, params);
  double total = 0;
  for (const std::int32_t id : ids) total += static_cast<double>(e[id]);
  const double goal = static_cast<double>(uniform) * total;
  double cumulative = 0;
  std::int32_t chosen = ids.front();
  for (const std::int32_t id : ids) {
    if (e[id] <= 0.0F) continue;
    chosen = id;
    cumulative += static_cast<double>(e[id]);
    if (cumulative > goal) break;
  }
  const float log_sum = max + static_cast<float>(std::log(total));
  return {chosen, at(chosen) - log_sum};
}

// A list of ids as ops/shaped_rows.h writes it.
std::vector<std::int32_t> listed_ids(std::span<const std::int32_t> lists, std::int32_t begin,
                                     std::int32_t count, std::int32_t vocabulary) {
  const auto from = lists.subspan(static_cast<std::size_t>(begin));
  if (count <= (vocabulary + 31) / 32) return {from.begin(), from.begin() + count};
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < vocabulary; ++id) {
    const auto word = static_cast<std::uint32_t>(from[static_cast<std::size_t>(id / 32)]);
    if (((word >> (id % 32)) & 1U) != 0U) ids.push_back(id);
  }
  return ids;
}

}  // namespace

// Logits that are not finite mean that the model has diverged; a token drawn from them would be noise.
SampledToken sample_row(const Kernels& kernels, std::span<float> logits, float lse,
                        const SamplingParams& params, std::span<const std::int32_t> seen, float uniform) {
  const SampledToken token = draw_row(kernels, logits, lse, params, seen, uniform);
  if (token.id >= 0) return token;
  throw runtime_failure(
      "the model's logits are not finite", "a row to sample from holds NaN or infinity",
      "the weights have diverged: go back to an earlier checkpoint or lower the learning rate");
}

SampledToken sample_raw_row(const Kernels& kernels, std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> seen, float uniform) {
  const auto n = static_cast<std::int64_t>(logits.size());
  if (params.plain() && params.temperature != 1.0F) kernels.divide(logits.data(), n, params.temperature);
  const float lse = kernels.row_statistics(logits.data(), n).lse;
  if (!std::isfinite(lse)) return {-1, lse};
  return draw_row(kernels, logits, lse, params, seen, uniform);
}

void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms) {
  const Kernels& kernels = kernels_of(ctx);
  const auto vocabulary = static_cast<std::size_t>(logits.dim(1));
  parallel(ctx, logits.dim(0), static_cast<double>(logits.size()), [&](std::int64_t r) {
    if (temperatures.f32()[r] < 0) {
      ids.i32()[r] = -1;
      logprobs.f32()[r] = NAN;
      return;
    }
    const float* const row = logits.f32() + static_cast<std::size_t>(r) * vocabulary;
    std::vector<float> z(row, row + vocabulary);
    SamplingParams params;
    params.temperature = temperatures.f32()[r];
    const SampledToken token = sample_raw_row(kernels, z, params, {}, uniforms.f32()[r]);
    ids.i32()[r] = token.id;
    logprobs.f32()[r] = token.logprob;
  });
}

void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped) {
  const Kernels& kernels = kernels_of(ctx);
  const auto vocabulary = static_cast<std::int32_t>(logits.dim(1));
  const std::int32_t count = shaped.count.i32()[0];
  RLCPP_CHECK(count >= 0 && count <= shaped.rows.dim(0));
  parallel(ctx, count, static_cast<double>(count) * vocabulary, [&](std::int64_t i) {
    ShapedRow request;
    std::memcpy(&request, shaped.rows.i32() + i * kShapedWidth, sizeof(request));
    RLCPP_CHECK(request.row >= 0 && request.row < logits.dim(0));
    const std::span<const std::int32_t> lists = shaped.lists.i32_span();
    const std::span<float> row = logits.rows(request.row, 1).f32_span();
    for (const std::int32_t id : listed_ids(lists, request.forbidden, request.forbidden_count, vocabulary)) {
      row[static_cast<std::size_t>(id)] = -INFINITY;
    }
    const SamplingParams params = {request.temperature, request.top_k, request.top_p, request.min_p,
                                   request.repetition_penalty};
    const std::vector<std::int32_t> seen = listed_ids(lists, request.seen, request.seen_count, vocabulary);
    const SampledToken token = sample_raw_row(kernels, row, params, seen, request.uniform);
    ids.i32()[request.row] = token.id;
    logprobs.f32()[request.row] = token.logprob;
  });
}

}  // namespace rlcpp::ops::cpu
