// All prompts are looked at before the first step: one that cannot be rendered would else end a run when it
// is drawn, after hours.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "orchestrator/environments.h"

namespace rlcpp::orchestrator {

struct PromptSurvey {
  std::int64_t prompts = 0;                // looked at; fewer than were asked for if a signal came
  std::int64_t too_long = 0;               // without room for a token behind them
  std::int64_t shortest = 0, longest = 0;  // of those, in tokens
  std::string first_too_long;              // its place
  std::int64_t lossy = 0;                  // with bytes that the tokenizer leaves out
  std::string first_lossy;
};

// The tasks [first, last) of an environment. Throws as rendering does, beginning with the place of the first
// task that is wrong. progress(looked at): now and then; may be empty.
PromptSurvey survey_prompts(const Environments& environments, std::int64_t env, std::int64_t first,
                            std::int64_t last, std::int64_t seq_len, ThreadPool& pool,
                            const std::function<void(std::int64_t)>& progress = {});

}  // namespace rlcpp::orchestrator
