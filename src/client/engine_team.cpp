#include "client/engine_team.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace rlcpp::client {

EngineTeam::EngineTeam(std::vector<rollout::Engine*> engines, OnEachEngine on_each)
    : engines_(std::move(engines)), on_each_(std::move(on_each)) {
  RLCPP_CHECK(!engines_.empty());
  name_ = engines_.size() == 1 ? "the in-process rollout engine"
                               : fmt::format("the {} in-process rollout engines", engines_.size());
}

EngineTeam::EngineTeam(rollout::Engine& engine)
    : EngineTeam({&engine}, [](const std::function<void(std::size_t)>& body) { body(0); }) {}

void EngineTeam::submit(rollout::GroupRequest request) {
  const std::int32_t n = request.n;
  rollout::Engine& engine = owner(request.id);
  engine.submit(std::move(request));
  outstanding_ += n;
}

PolicyClient::Poll EngineTeam::poll() {
  std::vector<Poll> parts(engines_.size());
  const auto idle = [](const rollout::Engine* engine) { return engine->idle(); };
  if (std::ranges::all_of(engines_, idle)) return {};
  on_each_([&](std::size_t i) {
    rollout::Engine& engine = *engines_[i];
    if (engine.idle()) return;
    const std::int64_t forwards = engine.stats().forwards;
    parts[i].finished = engine.step();
    parts[i].progressed = engine.stats().forwards > forwards || !parts[i].finished.empty();
  });
  Poll all;
  for (Poll& part : parts) {
    all.progressed = all.progressed || part.progressed;
    std::ranges::move(part.finished, std::back_inserter(all.finished));
  }
  outstanding_ -= static_cast<std::int64_t>(all.finished.size());
  return all;
}

void EngineTeam::set_version(std::int64_t version) {
  for (rollout::Engine* engine : engines_) engine->set_version(version);
}

}  // namespace rlcpp::client
