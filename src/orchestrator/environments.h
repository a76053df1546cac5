// The environments of a run with their tasks as tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/continuation.h"
#include "env/environment.h"
#include "orchestrator/algo/reply_filter.h"
#include "orchestrator/config.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

// Text to tokens and back, as the policy's tokenizer does it.
struct TextCodec {
  // Chat template with the generation prompt, then tokenizer.
  std::function<std::vector<std::int32_t>(const std::vector<env::Message>& messages)> prompt_ids;
  // True if the tokenizer leaves out bytes of these; empty: it never does.
  std::function<bool(const std::vector<env::Message>& messages)> loses_bytes;
  // Between two responses: data/continuation.h. Only asked for by environments of several turns.
  std::function<data::Continuation(const std::vector<env::Message>& before,
                                   const std::vector<env::Message>& next)>
      continuation;
  // Special tokens left out; never throws, whatever the ids.
  std::function<std::string(std::span<const std::int32_t> ids)> completion_text;
  // The same with special tokens in place: what people read.
  std::function<std::string(std::span<const std::int32_t> ids)> whole_text;
};

class Environments {
 public:
  // Throws bad_input if an environment cannot be made or has no task, or has several turns and the chat
  // template cannot go on after a response. filter: of what environments say, for echo.
  Environments(const std::vector<EnvSection>& sections, TextCodec codec, ReplyFilter filter = {});

  std::int64_t count() const { return static_cast<std::int64_t>(environments_.size()); }
  const env::Environment& at(std::int64_t env) const { return *environments_[static_cast<std::size_t>(env)]; }
  const std::string& name(std::int64_t env) const { return at(env).name(); }

  // The group of an example without rollouts.
  Group open(const Example& example) const;
  // Identifies the content of a task: its prompt, whatever the order of the data.
  std::uint64_t fingerprint(const Example& example) const;
  // The environment's answer to the responses of a rollout, with its tokens; nullopt: the conversation is
  // over, in which case an environment that threw has left its error in the rollout.
  struct Answer {
    std::vector<env::Message> messages;
    data::Continuation tokens;
  };
  std::optional<Answer> answer(const Group& group, Rollout& rollout) const;
  // Fills reward, parts and error of a rollout from its responses. An environment that throws or gives a
  // reward that is not finite makes a rollout with an error and reward 0, which is not trained.
  void score(const Group& group, Rollout& rollout) const;
  const TextCodec& codec() const { return codec_; }

 private:
  void require_continuation(const env::Environment& environment) const;

  std::vector<std::unique_ptr<env::Environment>> environments_;
  TextCodec codec_;
  ReplyFilter filter_;
};

// The same environments with args.split = "eval". Throws bad_input if one holds nothing out.
std::vector<EnvSection> held_out(const std::vector<EnvSection>& sections);

}  // namespace rlcpp::orchestrator
