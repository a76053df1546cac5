#include "rollout/shaped_draws.h"

#include "base/error.h"

namespace rlcpp::rollout {

bool is_shaped(const Draw& draw) {
  const ops::SamplingParams& params = draw.request->sampling;
  if (masks_stops(draw) || params.repetition_penalty != 1.0F) return true;
  return params.temperature > 0 && !params.plain();
}

std::int64_t most_shaped_words(std::int64_t max_model_len, std::int64_t vocabulary) {
  return ops::shaped_list_words(max_model_len, vocabulary) + ops::shaped_list_words(vocabulary, vocabulary);
}

std::int64_t fill_shaped(std::span<const Draw> draws, std::int64_t vocabulary, StepViews& step) {
  std::size_t rows = 0, words = 0;
  const auto add = [&](std::span<const std::int32_t> ids) {
    const std::size_t begin = words;
    words += static_cast<std::size_t>(ops::write_shaped_list(step.lists.subspan(begin), ids, vocabulary));
    return static_cast<std::int32_t>(begin);
  };
  const GroupRequest* forbidding = nullptr;  // whose stop ids were written last: siblings share them
  std::int32_t forbidden = 0;
  for (std::size_t i = 0; i < draws.size(); ++i) {
    const Draw& draw = draws[i];
    if (!is_shaped(draw)) continue;
    const ops::SamplingParams& params = draw.request->sampling;
    ops::ShapedRow row = {};
    row.row = static_cast<std::int32_t>(i);
    row.temperature = params.temperature;
    row.uniform = ops::draw_uniform(draw.seed, draw.index);
    row.top_k = params.top_k;
    row.top_p = params.top_p;
    row.min_p = params.min_p;
    row.repetition_penalty = params.repetition_penalty;
    if (params.repetition_penalty != 1.0F) {
      row.seen = add(draw.seen);
      row.seen_count = static_cast<std::int32_t>(draw.seen.size());
    }
    if (masks_stops(draw)) {
      if (draw.request != forbidding) forbidden = add(draw.request->stop_ids);
      forbidding = draw.request;
      row.forbidden = forbidden;
      row.forbidden_count = static_cast<std::int32_t>(draw.request->stop_ids.size());
    }
    step.shaped[rows++] = row;
  }
  step.shaped_count[0] = static_cast<std::int32_t>(rows);
  return static_cast<std::int64_t>(words);
}

}  // namespace rlcpp::rollout
