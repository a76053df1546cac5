// Rows to draw from distributions that are shaped, and what an independent reference says of a draw.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "ops/ops_support.h"
#include "ops/reference/sampling.h"
#include "ops/shaped_rows.h"

namespace rlcpp::test {

struct ShapedCase {
  Floats logits;  // raw
  ops::SamplingParams params = {};
  float uniform = 0;
  Ints seen = {}, forbidden = {};
};

inline std::string text_of(const ShapedCase& c) {
  return "vocabulary " + std::to_string(c.logits.size()) + ", temperature " +
         std::to_string(c.params.temperature) + ", top_k " + std::to_string(c.params.top_k) + ", top_p " +
         std::to_string(c.params.top_p) + ", min_p " + std::to_string(c.params.min_p) + ", penalty " +
         std::to_string(c.params.repetition_penalty) + ", uniform " + std::to_string(c.uniform) + ", " +
         std::to_string(c.seen.size()) + " seen, " + std::to_string(c.forbidden.size()) + " forbidden";
}

// What row `row` is told of the case; where its lists begin is left to the caller.
inline ops::ShapedRow request_of(const ShapedCase& c, std::int32_t row) {
  return {.row = row,
          .temperature = c.params.temperature,
          .uniform = c.uniform,
          .top_k = c.params.top_k,
          .top_p = c.params.top_p,
          .min_p = c.params.min_p,
          .repetition_penalty = c.params.repetition_penalty,
          .seen = 0,
          .seen_count = static_cast<std::int32_t>(c.seen.size()),
          .forbidden = 0,
          .forbidden_count = static_cast<std::int32_t>(c.forbidden.size())};
}

// The parameters of case number `trial`: each transform alone and all combinations in the course of time.
inline ShapedCase random_shaped_case(std::int64_t vocabulary, int trial, Random& random) {
  ShapedCase c;
  const float scales[] = {3.0F, 0.05F, 8.0F};
  c.logits = random.normal(vocabulary, scales[trial % 3]);
  c.uniform = trial % 11 == 3 ? 0.0F : trial % 11 == 4 ? 0x1.fffffep-1F : random.uniform();
  if (trial % 2 == 1) c.params.temperature = 0.3F + 1.5F * random.uniform();
  if (trial % 3 == 1) {
    const std::int64_t k = trial % 2 == 0 ? random.between(1, 60) : random.between(1, vocabulary + 5);
    c.params.top_k = static_cast<std::int32_t>(k);
  }
  if (trial % 4 >= 2) c.params.top_p = trial % 8 == 2 ? 0.95F : 0.02F + 0.97F * random.uniform();
  if (trial % 5 == 2) c.params.min_p = 0.3F * random.uniform();
  if (trial % 7 >= 4) {
    c.params.repetition_penalty = 0.7F + random.uniform();
    c.seen = random.below(random.between(0, 2 + vocabulary / 10), vocabulary);
  }
  if (trial % 6 >= 4) c.forbidden = random.below(random.between(0, 1 + vocabulary / 8), vocabulary);
  if (static_cast<std::int64_t>(std::set(c.forbidden.begin(), c.forbidden.end()).size()) == vocabulary) {
    c.forbidden.clear();
  }
  if (trial % 13 == 5) c.params.temperature = 0;
  if (trial % 9 == 7) {  // many ties
    for (float& z : c.logits) z = std::round(z);
  }
  return c;
}

inline bool agrees_with(const Doubles& p, const ShapedCase& c, std::int32_t id, float logprob) {
  const auto place = static_cast<std::size_t>(id);
  if (!(p[place] > 0)) return false;
  const double expected = std::log(p[place]);
  if (!(std::abs(logprob - expected) <= 1e-5 * (1 + std::abs(expected)))) return false;
  double below = 0;
  for (std::size_t i = 0; i < place; ++i) below += p[i];
  return below <= c.uniform + 1e-5 && below + p[place] >= c.uniform - 1e-5;
}

// The row after everything that is done to one logit alone; rounded as IEEE says, so on every device alike.
inline Doubles shaped_scores(const ShapedCase& c) {
  Floats z = c.logits;
  for (const std::int32_t id : c.forbidden) z[id] = -INFINITY;
  for (const std::int32_t id : std::set<std::int32_t>(c.seen.begin(), c.seen.end())) {
    z[id] = z[id] > 0 ? z[id] / c.params.repetition_penalty : z[id] * c.params.repetition_penalty;
  }
  if (c.params.temperature > 0) {
    for (float& value : z) value /= c.params.temperature;
  }
  return to_double(z);
}

// Rounding may move a token that lies at the border of top-p or min-p across it, no other.
inline void expect_shaped_draw(const ShapedCase& c, std::int32_t id, float logprob,
                               const std::string& where) {
  ASSERT_GE(id, 0) << where << ", " << text_of(c);
  ASSERT_LT(id, static_cast<std::int32_t>(c.logits.size())) << where << ", " << text_of(c);
  ASSERT_TRUE(std::isfinite(logprob)) << where << ", " << text_of(c);
  const Doubles z = shaped_scores(c);
  ops::SamplingParams params = c.params;
  params.temperature = params.repetition_penalty = 1;
  if (c.params.temperature <= 0) {
    const Doubles p = ops::reference::sampling_distribution(z, {}, {});
    EXPECT_EQ(id, std::max_element(z.begin(), z.end()) - z.begin()) << where << ", " << text_of(c);
    EXPECT_NEAR(logprob, std::log(p[id]), 1e-5 * (1 + std::abs(std::log(p[id]))))
        << where << ", " << text_of(c);
    return;
  }
  constexpr float kBorder = 3e-6F;
  for (const float more_p : {0.0F, -kBorder, kBorder}) {
    for (const float more_min : {0.0F, -kBorder, kBorder}) {
      ops::SamplingParams near = params;
      if (params.top_p < 1) near.top_p = std::min(params.top_p + more_p, 0x1.fffffep-1F);
      near.min_p = params.min_p * (1 + more_min);
      if (agrees_with(ops::reference::sampling_distribution(z, near, {}), c, id, logprob)) return;
      if (params.min_p <= 0) break;
    }
    if (params.top_p >= 1) break;
  }
  const Doubles p = ops::reference::sampling_distribution(z, params, {});
  ADD_FAILURE() << where << ", " << text_of(c) << ": drew " << id << " with log-probability " << logprob
                << "; its probability is " << p[id];
}

}  // namespace rlcpp::test
