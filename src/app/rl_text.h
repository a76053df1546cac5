// The text side of an RL run: tokenizer and chat template as the orchestrator sees them, and what --dry-run
// shows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "app/rl_config.h"
#include "app/run_model.h"
#include "orchestrator/environments.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::app {

struct RlText {
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  orchestrator::TextCodec codec;       // holds the tokenizer
  std::vector<std::int32_t> stop_ids;  // ends of a turn: the tokenizer's and those of config.json; ascending
  // For the engine's stop strings; holds the tokenizer.
  std::function<std::string(std::int32_t)> token_bytes() const {
    return [tokens = tokenizer](std::int32_t id) { return tokens->token_bytes(id); };
  }
};

// Throws bad_input if there is no tokenizer, it does not fit the model, or there is no chat template.
RlText open_rl_text(const RlConfig& config, const RunModel& model);

// A prompt as the policy gets it, with the rewards of a perfect and of an empty completion.
struct PromptSample {
  std::string environment;
  orchestrator::Group group;  // without rollouts
  double perfect_reward = 0, empty_reward = 0;
};
// The first prompts of the environments in turn; fewer if there are no more.
std::vector<PromptSample> first_prompts(const orchestrator::Environments& environments, int count);
// The same as text, and as a JSON list.
std::string prompt_listing(const orchestrator::Environments& environments, const RlText& text, int count);
nlohmann::ordered_json prompt_json(const orchestrator::Environments& environments, const RlText& text,
                                   int count);

}  // namespace rlcpp::app
