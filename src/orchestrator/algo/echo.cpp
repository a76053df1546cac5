#include "orchestrator/algo/echo.h"

#include "base/error.h"
#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> echo(std::span<const Outcome> group) {
  return grpo(group);
}

std::vector<float> reply_weights(const Rollout& rollout, const RoleWeights& roles) {
  std::vector<float> out(rollout.ids.size(), 0.0F);
  bool any = false;
  for (const Reply& reply : rollout.replies) {
    RLCPP_CHECK(static_cast<std::int64_t>(reply.message.size()) == reply.end - reply.begin);
    for (std::size_t i = 0; i < reply.message.size(); ++i) {
      if (reply.message[i] < 0) continue;
      const auto role = roles.find(reply.messages.at(static_cast<std::size_t>(reply.message[i])).role);
      if (role == roles.end() || !(role->second > 0)) continue;
      out[static_cast<std::size_t>(reply.begin) + i] = static_cast<float>(role->second);
      any = true;
    }
  }
  return any && rollout.error.empty() ? out : std::vector<float>();
}

}  // namespace rlcpp::orchestrator
