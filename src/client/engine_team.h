// The policy as the engines of this process: one, or several on devices of their own, all with the same
// weights. Who asks sees one policy. A poll is a step of each, so the caller's threads do the work.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "client/policy_client.h"
#include "rollout/engine.h"

namespace rlcpp::client {

// Runs body(i) for every engine i, each on the thread that its device belongs to, side by side; returns when
// all are done, and throws the first error.
using OnEachEngine = std::function<void(const std::function<void(std::size_t)>&)>;

// A request goes to the engine of its id modulo their number, whoever is busy: which tokens are computed
// beside which follows from the requests alone, so a run repeats in every numeric mode, and in mode exact an
// answer does not depend on the number of engines. A poll is one step of every engine that has work; who is
// done earlier waits. (Later turns of a rollout have ids of their own, and may come to another engine, which
// computes their text again.)
class EngineTeam final : public PolicyClient {
 public:
  // The engines outlive the client, and nobody else submits to them or steps them.
  EngineTeam(std::vector<rollout::Engine*> engines, OnEachEngine on_each);
  // One alone, on the caller's thread.
  explicit EngineTeam(rollout::Engine& engine);

  const std::string& name() const override { return name_; }
  void submit(rollout::GroupRequest request) override;
  void abort(std::int64_t group_id) override { owner(group_id).abort(group_id); }
  Poll poll() override;
  std::int64_t outstanding() const override { return outstanding_; }
  void set_version(std::int64_t version) override;
  std::int64_t version() const override { return engines_.front()->version(); }

 private:
  rollout::Engine& owner(std::int64_t group_id) const {
    return *engines_[static_cast<std::uint64_t>(group_id) % engines_.size()];
  }

  std::vector<rollout::Engine*> engines_;
  OnEachEngine on_each_;
  std::string name_;
  std::int64_t outstanding_ = 0;
};

}  // namespace rlcpp::client
