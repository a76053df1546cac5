#include "app/rl_text.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "data/render.h"
#include "tokenizer/chat_template.h"

namespace rlcpp::app {
namespace {

nlohmann::ordered_json json_of(const std::vector<env::Message>& messages) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const env::Message& message : messages)
    list.push_back({{"role", message.role}, {"content", message.content}});
  return list;
}

}  // namespace

RlText open_rl_text(const RlConfig& config, const RunModel& model) {
  RlText out;
  const std::string dir = tokenizer_directory(config.tokenizer, model);
  auto tokens = std::make_shared<const tokenizer::Tokenizer>(tokenizer::Tokenizer::load(dir));
  require_vocabulary(model, tokens->vocab_size(), dir);
  out.tokenizer = tokens;

  const std::string own = config.tokenizer.template_text();
  const std::string source = own.empty() ? tokens->chat_template() : own;
  if (source.empty()) {
    throw bad_input(fmt::format("the tokenizer of {} has no chat template", dir),
                    "environments give messages, not text", "set tokenizer.chat_template to a Jinja file");
  }
  const auto chat = std::make_shared<const tokenizer::ChatTemplate>(source);
  const nlohmann::ordered_json variables = data::template_variables(*tokens);
  out.codec.prompt_ids = [tokens, chat, variables](const std::vector<env::Message>& messages) {
    return tokens->encode(chat->render(json_of(messages), /*add_generation_prompt=*/true, variables));
  };
  if (tokens->may_lose_bytes()) {
    out.codec.loses_bytes = [tokens](const std::vector<env::Message>& messages) {
      return std::any_of(messages.begin(), messages.end(), [&](const env::Message& message) {
        return tokens->lost_bytes(message.content) > 0;
      });
    };
  }
  out.codec.continuation = [tokens, chat, variables](const std::vector<env::Message>& before,
                                                     const std::vector<env::Message>& next) {
    return data::continue_conversation(*tokens, *chat, variables, json_of(before), json_of(next));
  };
  out.codec.completion_text = [tokens](std::span<const std::int32_t> ids) {
    return tokens->decode(ids, /*skip_special=*/true);
  };
  out.codec.whole_text = [tokens](std::span<const std::int32_t> ids) { return tokens->decode(ids); };

  for (const std::int64_t id : model.config.eos_token_ids)
    out.stop_ids.push_back(static_cast<std::int32_t>(id));
  if (tokens->eos_id() >= 0) out.stop_ids.push_back(tokens->eos_id());
  std::sort(out.stop_ids.begin(), out.stop_ids.end());
  out.stop_ids.erase(std::unique(out.stop_ids.begin(), out.stop_ids.end()), out.stop_ids.end());
  return out;
}

std::vector<PromptSample> first_prompts(const orchestrator::Environments& environments, int count) {
  std::vector<PromptSample> out;
  for (std::int64_t index = 0; static_cast<int>(out.size()) < count; ++index) {
    bool any = false;
    for (std::int64_t env = 0; env < environments.count(); ++env) {
      if (index >= environments.at(env).size() || static_cast<int>(out.size()) == count) continue;
      any = true;
      PromptSample sample{environments.name(env), environments.open({env, index}), 0, 0};
      const env::Environment& environment = environments.at(env);
      const env::Task& task = sample.group.task;
      sample.perfect_reward = environment.score(task, environment.perfect_responses(task)).reward;
      sample.empty_reward = environment.score(task, "").reward;
      out.push_back(std::move(sample));
    }
    if (!any) break;
  }
  return out;
}

std::string prompt_listing(const orchestrator::Environments& environments, const RlText& text, int count) {
  std::string out = "prompts as the policy gets them\n";
  int shown = 0;
  for (const PromptSample& sample : first_prompts(environments, count)) {
    const orchestrator::Group& group = sample.group;
    out += fmt::format(
        "\nprompt {}  {} example {}  {} tokens\n  {}\n  answer {}\n  reward {:.3f} for a perfect "
        "completion, {:.3f} for an empty one\n",
        ++shown, sample.environment, group.task.example_id, group.prompt_length(),
        printable(text.tokenizer->decode(group.prompt_ids)), printable(group.task.answer),
        sample.perfect_reward, sample.empty_reward);
  }
  return out;
}

nlohmann::ordered_json prompt_json(const orchestrator::Environments& environments, const RlText& text,
                                   int count) {
  auto list = nlohmann::ordered_json::array();
  for (const PromptSample& sample : first_prompts(environments, count)) {
    nlohmann::ordered_json entry;
    entry["environment"] = sample.environment;
    entry["example"] = sample.group.task.example_id;
    entry["ids"] = sample.group.prompt_ids;
    // Of a prompt nothing is trained: the loss sees completions.
    entry["mask"] = std::vector<int>(sample.group.prompt_ids.size(), 0);
    entry["text"] = text.tokenizer->decode(sample.group.prompt_ids);
    entry["answer"] = sample.group.task.answer;
    entry["reward_of_perfect"] = sample.perfect_reward;
    entry["reward_of_empty"] = sample.empty_reward;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace rlcpp::app
