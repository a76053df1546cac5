// echo: the advantages of grpo on what was sampled, and cross-entropy on what environments say behind the
// first response (prime-rl orchestrator/algo/echo.py, June 2026): the policy learns to foresee what its
// environment answers. A token in the content of a message has the weight alpha of the message's role; what
// the chat template writes around it has none, nor has the first prompt. loss = loss of the policy + sum of
// alpha * -log p / number of tokens with a weight.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

using RoleWeights = std::map<std::string, double>;  // alpha by role; none: not trained

// One weight a token of rollout.ids; empty if none is above 0, and for a rollout with an error.
std::vector<float> reply_weights(const Rollout& rollout, const RoleWeights& roles);

}  // namespace rlcpp::orchestrator
