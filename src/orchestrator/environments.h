// The environments of a run with their tasks as tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "env/environment.h"
#include "orchestrator/config.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

// Text to tokens and back, as the policy's tokenizer does it.
struct TextCodec {
  // Chat template with the generation prompt, then tokenizer.
  std::function<std::vector<std::int32_t>(const std::vector<env::Message>& messages)> prompt_ids;
  // Special tokens left out; never throws, whatever the ids.
  std::function<std::string(std::span<const std::int32_t> ids)> completion_text;
  // The same with special tokens in place: what people read.
  std::function<std::string(std::span<const std::int32_t> ids)> whole_text;
};

class Environments {
 public:
  // Throws bad_input if an environment cannot be made or has no task.
  Environments(const std::vector<EnvSection>& sections, TextCodec codec);

  std::int64_t count() const { return static_cast<std::int64_t>(environments_.size()); }
  const env::Environment& at(std::int64_t env) const { return *environments_[static_cast<std::size_t>(env)]; }
  const std::string& name(std::int64_t env) const { return at(env).name(); }

  // The group of an example without rollouts.
  Group open(const Example& example) const;
  // Identifies the content of a task: its prompt, whatever the order of the data.
  std::uint64_t fingerprint(const Example& example) const;
  // Fills text, reward, parts and error of a rollout. An environment that throws or gives a reward that is
  // not finite makes a rollout with an error and reward 0, which is not trained.
  void score(const Group& group, Rollout& rollout) const;
  const TextCodec& codec() const { return codec_; }

 private:
  std::vector<std::unique_ptr<env::Environment>> environments_;
  TextCodec codec_;
};

// The same environments with args.split = "eval". Throws bad_input if one holds nothing out.
std::vector<EnvSection> held_out(const std::vector<EnvSection>& sections);

}  // namespace rlcpp::orchestrator
