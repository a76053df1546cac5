// Orchestrator::survey(): which prompts a run may draw, and what is said of them.
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/prompt_survey.h"

namespace rlcpp::orchestrator {
namespace {

// The tasks of one environment that one purpose uses.
struct Part {
  const Environments* environments;
  std::int64_t env;
  TaskRange tasks;
  const char* purpose;  // "" is training
};

std::string name_of(const Part& part) {
  return fmt::format("environment '{}'{}", part.environments->name(part.env), part.purpose);
}

std::string tokens_text(const PromptSurvey& found) {
  return found.shortest == found.longest ? fmt::format("{} tokens", found.longest)
                                         : fmt::format("{} to {} tokens", found.shortest, found.longest);
}

}  // namespace

std::vector<std::string> Orchestrator::survey(ThreadPool& pool, const std::string& seq_len_key,
                                              const SurveyProgress& progress) const {
  std::vector<Part> parts;
  std::int64_t all = 0;
  const auto add = [&](const Environments& environments, std::int64_t env, std::int64_t num_examples,
                       std::int64_t skip_first, const char* purpose) {
    const TaskRange tasks = evaluated_tasks(num_examples, skip_first, environments.at(env).size());
    if (tasks.count() == 0) return;
    parts.push_back({&environments, env, tasks, purpose});
    all += tasks.count();
  };
  for (std::int64_t env = 0; env < environments_.count(); ++env) add(environments_, env, -1, 0, "");
  for (std::int64_t env = 0; val_.has_value() && env < val_->count(); ++env)
    add(*val_, env, validation_share(env), 0, " of validation");
  for (std::int64_t env = 0; eval_.has_value() && env < eval_->count(); ++env)
    add(*eval_, env, eval_examples(env), section_.eval->env[static_cast<std::size_t>(env)].skip_first,
        " of evaluation");
  std::vector<std::string> notes;
  std::int64_t done = 0;
  for (const Part& part : parts) {
    const PromptSurvey found = survey_prompts(*part.environments, part.env, part.tasks.first, part.tasks.last,
                                              section_.seq_len, pool, [&](std::int64_t of_part) {
                                                if (progress) progress(done + of_part, all);
                                              });
    done += found.prompts;
    if (found.lossy > 0) {
      notes.push_back(
          fmt::format("the tokenizer has no token for some bytes of {} prompts of {}, the first {}: they are "
                      "left out, as "
                      "Hugging Face's tokenizers do",
                      found.lossy, name_of(part), found.first_lossy));
    }
    if (found.too_long == 0) continue;
    if (found.too_long == part.tasks.count()) {
      throw bad_input(fmt::format("no prompt of {} has room for an answer", name_of(part)),
                      fmt::format("they have {}, and {} = {} is of prompt and answer", tokens_text(found),
                                  seq_len_key, section_.seq_len),
                      fmt::format("raise {} above {} by the length of an answer, or give shorter prompts",
                                  seq_len_key, found.shortest));
    }
    notes.push_back(
        fmt::format("{} of {} prompts of {} have no room for an answer and are passed over: they have {}, "
                    "the first is {}, "
                    "and {} = {} is of prompt and answer; raise it, or shorten them",
                    found.too_long, found.prompts, name_of(part), tokens_text(found), found.first_too_long,
                    seq_len_key, section_.seq_len));
  }
  return notes;
}

}  // namespace rlcpp::orchestrator
