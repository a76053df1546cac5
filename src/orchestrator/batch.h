// From groups with rewards to the trainer's micro-batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "orchestrator/algo/advantage.h"
#include "orchestrator/algo/echo.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

// Sets the advantage of every rollout, group by group, then as the algorithm has it for all of the step.
void set_advantages(std::vector<Group>& groups, const Algorithm& algorithm);

// Prompt (mask 0) and completion (what was sampled of it mask 1, with log-probability and advantage) as one
// document; cut to seq_len. A rollout with an error is masked throughout. `index` becomes the sample's.
// `roles`: of what the environment says, what is trained as text (algo/echo.h).
data::Sample make_sample(const Group& group, const Rollout& rollout, double temperature, std::int64_t seq_len,
                         std::int64_t index, const RoleWeights& roles = {});

// First-fit decreasing: longest samples first (ties in their order), each into the first row with room, rows
// of at most `row_tokens` tokens. Then rows are evened out: samples move from the longest row to the shortest
// while that makes the longest shorter. Samples without a loss token are left out. Throws bad_input for a
// sample longer than a row.
std::vector<data::MicroBatch> pack_rows(const std::vector<data::Sample>& samples, std::int64_t row_tokens);

}  // namespace rlcpp::orchestrator
