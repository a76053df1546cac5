// The text side of an RL run: tokenizer and chat template as the orchestrator sees them, and what --dry-run
// shows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/rl_config.h"
#include "app/run_model.h"
#include "orchestrator/environments.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::app {

struct RlText {
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  orchestrator::TextCodec codec;       // holds the tokenizer
  std::vector<std::int32_t> stop_ids;  // ends of a turn: the tokenizer's and those of config.json; ascending
};

// Throws bad_input if there is no tokenizer, it does not fit the model, or there is no chat template.
RlText open_rl_text(const RlConfig& config, const RunModel& model);

// The first `count` prompts as the policy gets them, with the rewards of a perfect and of an empty
// completion.
std::string prompt_listing(const orchestrator::Environments& environments, const RlText& text, int count);

}  // namespace rlcpp::app
