// Draws of a step whose distribution is more than softmax(logits / temperature), as a GPU reads them.
#pragma once

#include <cstdint>
#include <span>

#include "rollout/sampler.h"
#include "rollout/step_buffers.h"

namespace rlcpp::rollout {

// True if it is neither plain nor greedy over all ids.
bool is_shaped(const Draw& draw);

// The most words that the lists of one draw take.
std::int64_t most_shaped_words(std::int64_t max_model_len, std::int64_t vocabulary);

// Writes the shaped ones of a step's draws, in their order, and their lists; draw i is row i of the step's
// logits. Returns the words of lists.
std::int64_t fill_shaped(std::span<const Draw> draws, std::int64_t vocabulary, StepViews& step);

}  // namespace rlcpp::rollout
