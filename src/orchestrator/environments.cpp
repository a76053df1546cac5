#include "orchestrator/environments.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rlcpp::orchestrator {

Environments::Environments(const std::vector<EnvSection>& sections, TextCodec codec, ReplyFilter filter)
    : codec_(std::move(codec)), filter_(std::move(filter)) {
  for (const EnvSection& section : sections) {
    environments_.push_back(env::make_environment(section.id, section.shown(), section.args, section.places));
    if (environments_.back()->size() == 0) {
      throw bad_input(fmt::format("environment '{}' has no task", section.shown()), "", "give it data");
    }
    if (environments_.back()->max_turns() > 1) require_continuation(*environments_.back());
  }
}

// Rather now than in the middle of a run.
void Environments::require_continuation(const env::Environment& environment) const {
  std::vector<env::Message> before = environment.task(0).prompt;
  before.push_back({"assistant", "a response"});
  for (const std::string& role : environment.reply_roles()) {
    try {
      codec_.continuation(before, {{role, "an answer"}});
    } catch (const Error& e) {
      throw Error(e.code(),
                  fmt::format("environment '{}' has several turns: {}", environment.name(), e.what()),
                  e.because(), e.help());
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

std::optional<Environments::Answer> Environments::answer(const Group& group, Rollout& rollout) const {
  const env::Environment& environment = at(group.example.env);
  if (rollout.turns() >= environment.max_turns()) return std::nullopt;
  Answer out;
  try {
    out.messages = environment.reply(group.task, rollout.responses);
    if (out.messages.empty()) return std::nullopt;
    std::vector<env::Message> before = group.task.prompt;
    for (std::size_t turn = 0; turn < rollout.responses.size(); ++turn) {
      before.push_back({"assistant", rollout.responses[turn]});
      if (turn == rollout.replies.size()) break;
      const std::vector<env::Message>& said = rollout.replies[turn].messages;
      before.insert(before.end(), said.begin(), said.end());
    }
    out.tokens = codec_.continuation(before, out.messages);
    filter_.apply(out.tokens);
  } catch (const std::exception&) {
    rollout.error = "ReplyError";
    return std::nullopt;
  }
  return out;
}

void Environments::score(const Group& group, Rollout& rollout) const {
  if (!rollout.error.empty()) return;
  try {
    env::Score score = at(group.example.env).score(group.task, rollout.responses);
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
