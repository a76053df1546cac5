// Rollouts as JSON lines, for people and viewers: one object a rollout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orchestrator/environments.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

struct RolloutLogOptions {
  std::int64_t step = 0;
  std::int64_t groups = -1;  // at most; -1: all
  bool tokens = true;        // ids and log-probabilities too
};

// Keys: id, step, group, sample, env, example_id, prompt (messages), answer, completion (with its special
// tokens; the environment scored the text without), reward, advantage, parts, finish, truncated, num_turns,
// prompt_len, completion_len, version (of the first and the last token), turns (of several: response, its
// tokens [begin, end) in completion_ids, and the environment's reply to it as messages), error (if any); with
// tokens: prompt_ids, completion_ids, logprobs (the shortest decimals that give back the same float32). Text
// of the model is hostile: every control character, the C1 range and DEL included, is a JSON escape, and
// invalid UTF-8 is U+FFFD, so printing a line moves no cursor.
std::string rollout_lines(const std::vector<Group>& groups, const Environments& environments,
                          const RolloutLogOptions& options);

// Replaces DEL and U+0080 to U+009F in JSON text by escapes; they occur inside strings only.
std::string escape_controls(const std::string& json_text);

}  // namespace rlcpp::orchestrator
