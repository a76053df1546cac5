// The policy as an engine in this process: a poll is one step of it, so the caller's thread does the work.
#pragma once

#include <string>

#include "client/policy_client.h"
#include "rollout/engine.h"

namespace rlcpp::client {

class EngineClient final : public PolicyClient {
 public:
  // The engine outlives the client, and nobody else submits to it or steps it.
  explicit EngineClient(rollout::Engine& engine) : engine_(engine) {}

  const std::string& name() const override { return name_; }
  void submit(rollout::GroupRequest request) override;
  void abort(std::int64_t group_id) override { engine_.abort(group_id); }
  Poll poll() override;
  std::int64_t outstanding() const override { return outstanding_; }
  void set_version(std::int64_t version) override { engine_.set_version(version); }
  std::int64_t version() const override { return engine_.version(); }

 private:
  rollout::Engine& engine_;
  std::string name_ = "the in-process rollout engine";
  std::int64_t outstanding_ = 0;
};

}  // namespace rlcpp::client
