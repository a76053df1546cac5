#include "app/rank_engines.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "ops/workspace.h"

namespace rlcpp::app {

RankSetup find_rl_ranks(const RlDistSection& section, Device chosen, const std::string& request,
                        bool teacher) {
  RankSetup setup = find_ranks(section.dist(), chosen, request);
  if (setup.launch.processes > 1) {
    throw bad_input(fmt::format("rl was started as {} processes", setup.launch.processes),
                    setup.launch.source + ", and rl is one process with a thread a GPU",
                    "start it once, with --dist.ranks N for N GPUs of this machine");
  }
  if (teacher && setup.count() > 1) {
    throw bad_input(
        fmt::format("dist.ranks = {} beside orchestrator.teacher_model", setup.count()),
        "a teacher scores on one rank, and its memory would be planned on all",
        "leave out one of the two, or start rlcpp trainer --dist.ranks N beside rlcpp orchestrator, "
        "which holds the teacher");
  }
  return setup;
}

RankEngines::RankEngines(RankTeam& team, const Parts& parts)
    : team_(team), contexts_(team.local()), engines_(team.local()) {
  team_.on_each([&](int local, const RankTeam::Place& place) {
    const auto index = static_cast<std::size_t>(local);
    contexts_[index] =
        local == 0 ? parts.first : ops::make_context(place.ctx.device, *place.ctx.pool, parts.first.mode);
    if (parts.regions.scratch.index >= 0)
      ops::use_workspace(contexts_[index], place.arena[parts.regions.scratch]);
    engines_[index] = std::make_unique<rollout::Engine>(contexts_[index], parts.model, parts.config,
                                                        place.arena, parts.regions.engine, place.weights,
                                                        place.packed, place.rope, parts.token_bytes);
  });
  std::vector<rollout::Engine*> engines;
  for (const auto& engine : engines_) engines.push_back(engine.get());
  client_ = std::make_unique<client::EngineTeam>(
      std::move(engines), [this](const std::function<void(std::size_t)>& body) {
        team_.note("samples");
        team_.on_each([&](int local, const RankTeam::Place&) { body(static_cast<std::size_t>(local)); });
      });
}

// What a device allocated is released on the thread that it belongs to.
RankEngines::~RankEngines() {
  try {
    team_.on_each([&](int local, const RankTeam::Place&) {
      const auto index = static_cast<std::size_t>(local);
      engines_[index].reset();
      contexts_[index] = {};
    });
  } catch (...) {  // the run ends by an error that has been thrown already
  }
}

void RankEngines::synchronize() {
  team_.on_each([&](int local, const RankTeam::Place&) {
    // Nothing is under way between steps, so every engine is ready, whatever becomes of what is.
    RLCPP_CHECK(engines_[static_cast<std::size_t>(local)]->ready_for_weights());
    ops::synchronize(contexts_[static_cast<std::size_t>(local)]);
  });
}

}  // namespace rlcpp::app
