#include "orchestrator/prompt_survey.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/signals.h"

namespace rlcpp::orchestrator {
namespace {

constexpr std::int64_t kTasksOfABlock = 64;
constexpr std::int64_t kBlocksOfARound = 64;  // between two looks at progress and signals

struct Look {
  std::int64_t tokens = 0;
  bool lossy = false;
};

Look look_at(const Environments& environments, const Example& example) {
  try {
    const Group group = environments.open(example);
    const TextCodec& codec = environments.codec();
    return {group.prompt_length(), codec.loses_bytes && codec.loses_bytes(group.task.prompt)};
  } catch (const Error& e) {
    const std::string place = environments.at(example.env).place(example.index);
    if (std::string_view(e.what()).starts_with(place)) throw;
    throw Error(e.code(), fmt::format("{}: {}", place, e.what()), e.because(),
                e.help().empty() ? "mend or remove this prompt" : e.help());
  }
}

}  // namespace

PromptSurvey survey_prompts(const Environments& environments, std::int64_t env, std::int64_t first,
                            std::int64_t last, std::int64_t seq_len, ThreadPool& pool,
                            const std::function<void(std::int64_t)>& progress) {
  PromptSurvey out;
  std::vector<Look> looks;
  for (std::int64_t begin = first; begin < last && stop_signal() == 0;) {
    const std::int64_t end = std::min(last, begin + kTasksOfABlock * kBlocksOfARound);
    looks.assign(static_cast<std::size_t>(end - begin), {});
    pool.parallel_for((end - begin + kTasksOfABlock - 1) / kTasksOfABlock, [&](std::int64_t block) {
      const std::int64_t from = begin + block * kTasksOfABlock;
      for (std::int64_t index = from; index < std::min(end, from + kTasksOfABlock); ++index)
        looks[static_cast<std::size_t>(index - begin)] = look_at(environments, {env, index});
    });
    for (std::int64_t index = begin; index < end; ++index) {
      const Look& look = looks[static_cast<std::size_t>(index - begin)];
      if (look.lossy && out.lossy++ == 0) out.first_lossy = environments.at(env).place(index);
      if (look.tokens < seq_len) continue;
      if (out.too_long++ == 0) {
        out.first_too_long = environments.at(env).place(index);
        out.shortest = look.tokens;
      }
      out.shortest = std::min(out.shortest, look.tokens);
      out.longest = std::max(out.longest, look.tokens);
    }
    out.prompts += end - begin;
    begin = end;
    if (progress) progress(out.prompts);
  }
  return out;
}

}  // namespace rlcpp::orchestrator
