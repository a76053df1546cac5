#include "orchestrator/environments.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rlcpp::orchestrator {

Environments::Environments(const std::vector<EnvSection>& sections, TextCodec codec)
    : codec_(std::move(codec)) {
  for (const EnvSection& section : sections) {
    environments_.push_back(env::make_environment(section.id, section.shown(), section.args, section.places));
    if (environments_.back()->size() == 0) {
      throw bad_input(fmt::format("environment '{}' has no task", section.shown()), "", "give it data");
    }
  }
}

Group Environments::open(const Example& example) const {
  Group group;
  group.example = example;
  group.task = at(example.env).task(example.index);
  group.prompt_ids = codec_.prompt_ids(group.task.prompt);
  return group;
}

std::uint64_t Environments::fingerprint(const Example& example) const {
  // FNV-1a, 64 bits, with a separator that no UTF-8 text contains.
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    hash = (hash ^ 0xFFU) * 0x100000001b3ULL;
  };
  add(name(example.env));
  for (const env::Message& message : at(example.env).task(example.index).prompt) {
    add(message.role);
    add(message.content);
  }
  return hash;
}

void Environments::score(const Group& group, Rollout& rollout) const {
  rollout.text = codec_.completion_text(rollout.ids);
  try {
    env::Score score = at(group.example.env).score(group.task, rollout.text);
    if (std::isfinite(score.reward)) {
      rollout.reward = score.reward;
      rollout.parts = std::move(score.parts);
    } else {
      rollout.error = "NonFiniteReward";
    }
  } catch (const std::exception& e) {
    rollout.error = "ScoreError";
    rollout.reward = 0;
  }
}

std::vector<EnvSection> held_out(const std::vector<EnvSection>& sections) {
  std::vector<EnvSection> out = sections;
  for (EnvSection& section : out) {
    const nlohmann::json parsed = nlohmann::json::parse(section.args, nullptr, false);
    nlohmann::json args = parsed.is_object() ? parsed : nlohmann::json::object();
    if (args.value("holdout", nlohmann::json(0)) == 0) {
      throw bad_input(
          fmt::format("validation has no prompts: environment '{}' holds nothing out", section.shown()),
          "args.holdout is 0", "set args.holdout, or name environments in [[orchestrator.val.env]]");
    }
    args["split"] = "eval";
    section.args = args.dump();
  }
  return out;
}

}  // namespace rlcpp::orchestrator
