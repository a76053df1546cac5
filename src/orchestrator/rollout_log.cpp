#include "orchestrator/rollout_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

namespace rlcpp::orchestrator {

namespace {

// The double that is written with the fewest digits among those that are `value` as float32.
double shortest(float value) {
  const double decimal = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(decimal) == value ? decimal : static_cast<double>(value);
}

nlohmann::ordered_json turns_of(const Rollout& rollout) {
  auto out = nlohmann::ordered_json::array();
  std::int64_t begin = 0;
  for (std::size_t turn = 0; turn < rollout.responses.size(); ++turn) {
    const bool last = turn == rollout.replies.size();
    auto reply = nlohmann::ordered_json::array();
    for (const env::Message& message : last ? std::vector<env::Message>() : rollout.replies[turn].messages)
      reply.push_back({{"role", message.role}, {"content", message.content}});
    const std::int64_t end = last ? rollout.length() : rollout.replies[turn].begin;
    out.push_back({{"response", rollout.responses[turn]}, {"sampled", {begin, end}}, {"reply", reply}});
    if (!last) begin = rollout.replies[turn].end;
  }
  return out;
}

}  // namespace

std::string escape_controls(const std::string& json_text) {
  std::string out;
  out.reserve(json_text.size());
  for (std::size_t i = 0; i < json_text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(json_text[i]);
    const auto next = i + 1 < json_text.size() ? static_cast<unsigned char>(json_text[i + 1]) : 0;
    if (byte == 0x7F) {
      out += "\\u007f";
    } else if (byte == 0xC2 && next >= 0x80 && next <= 0x9F) {
      out += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      out.push_back(json_text[i]);
    }
  }
  return out;
}

std::string rollout_lines(const std::vector<Group>& groups, const Environments& environments,
                          const RolloutLogOptions& options) {
  std::string out;
  std::int64_t written = 0;
  for (const Group& group : groups) {
    if (options.groups >= 0 && written++ >= options.groups) break;
    nlohmann::ordered_json prompt = nlohmann::ordered_json::array();
    for (const env::Message& message : group.task.prompt)
      prompt.push_back({{"role", message.role}, {"content", message.content}});
    for (const Rollout& rollout : group.rollouts) {
      nlohmann::ordered_json line = {
          {"id", rollout.id},
          {"step", options.step},
          {"group", group.id},
          {"sample", rollout.sample},
          {"env", environments.name(group.example.env)},
          {"example_id", group.task.example_id},
          {"prompt", prompt},
          {"answer", group.task.answer},
          {"completion", environments.codec().whole_text(rollout.ids)},
          {"reward", rollout.reward},
          {"advantage", rollout.advantage},
          {"parts", rollout.parts},
          {"finish", rollout::name_of(rollout.finish)},
          {"truncated", rollout.truncated()},
          {"num_turns", rollout.turns()},
          {"prompt_len", group.prompt_length()},
          {"completion_len", rollout.length()},
          {"version", nlohmann::ordered_json::array()},
      };
      if (!rollout.versions.empty()) line["version"] = {rollout.versions.front(), rollout.versions.back()};
      if (!rollout.replies.empty()) line["turns"] = turns_of(rollout);
      if (!rollout.error.empty()) line["error"] = rollout.error;
      if (options.tokens) {
        line["prompt_ids"] = group.prompt_ids;
        line["completion_ids"] = rollout.ids;
        line["logprobs"] = nlohmann::ordered_json::array();
        for (const float value : rollout.logprobs) line["logprobs"].push_back(shortest(value));
      }
      out += escape_controls(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
      out.push_back('\n');
    }
  }
  return out;
}

}  // namespace rlcpp::orchestrator
