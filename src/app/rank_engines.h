// A rollout engine for every rank of a team, reading the weights that the rank's trainer holds, and the
// policy that they are together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/rl_config.h"
#include "app/run_engine.h"
#include "app/run_ranks.h"
#include "client/engine_team.h"

namespace rlcpp::app {

// The ranks of `rlcpp rl`. Throws bad_input if a launcher started several processes, or if several ranks were
// asked for beside a teacher, which would have to lie on each of them.
RankSetup find_rl_ranks(const RlDistSection& section, Device chosen, const std::string& request,
                        bool teacher);

class RankEngines {
 public:
  struct Parts {
    const model::ModelConfig& model;
    const rollout::EngineConfig& config;  // of each engine
    const EngineRegions& regions;         // in the plan of every rank
    const ops::Context& first;            // the engine's of the first rank, as it was planned with
    std::function<std::string(std::int32_t)> token_bytes;
  };
  // The team's ranks hold the whole weights that a decoder reads: one rank, adapters, or ZeRO 1 and 2. The
  // team outlives this.
  RankEngines(RankTeam& team, const Parts& parts);
  ~RankEngines();
  RankEngines(const RankEngines&) = delete;
  RankEngines& operator=(const RankEngines&) = delete;

  client::PolicyClient& client() { return *client_; }
  rollout::Engine& first() { return *engines_.front(); }
  std::size_t count() const { return engines_.size(); }
  // Everything that was asked of the devices by the engines is done: their weights may change.
  void synchronize();

 private:
  RankTeam& team_;
  std::vector<ops::Context> contexts_;
  std::vector<std::unique_ptr<rollout::Engine>> engines_;
  std::unique_ptr<client::EngineTeam> client_;
};

}  // namespace rlcpp::app
