#include "client/engine_client.h"

#include <utility>

namespace rlcpp::client {

void EngineClient::submit(rollout::GroupRequest request) {
  const std::int32_t n = request.n;
  engine_.submit(std::move(request));
  outstanding_ += n;
}

PolicyClient::Poll EngineClient::poll() {
  if (engine_.idle()) return {};
  const std::int64_t forwards = engine_.stats().forwards;
  Poll poll;
  poll.finished = engine_.step();
  outstanding_ -= static_cast<std::int64_t>(poll.finished.size());
  poll.progressed = engine_.stats().forwards > forwards || !poll.finished.empty();
  return poll;
}

}  // namespace rlcpp::client
