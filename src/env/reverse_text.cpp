// reverse-text: the policy writes a text backwards inside <reversed_text> tags. Same data column, system
// prompt, parser and reward as prime-rl's environment of that name (PrimeIntellect/reverse-text on the
// verifiers hub).
//
// Arguments: data (JSONL file, required), column ("prompt"), system_prompt ("None" or "" leaves it out), and
// those of split.h. Reward: difflib ratio of the tag's content and the reversed prompt; no tag counts as
// empty content.
#include <utility>

#include "env/builtin.h"
#include "env/difflib.h"
#include "env/jsonl_column.h"
#include "env/split.h"
#include "env/tags.h"
#include "env/unicode.h"

namespace rlcpp::env {
namespace {

constexpr const char* kSystemPrompt =
    "Reverse the text character-by-character. Put your answer in <reversed_text> tags.";

class ReverseText final : public Environment {
 public:
  ReverseText(std::string name, std::string system_prompt, std::string file, JsonlColumn prompts,
              std::vector<std::int64_t> rows)
      : name_(std::move(name)),
        system_prompt_(std::move(system_prompt)),
        file_(std::move(file)),
        prompts_(std::move(prompts.values)),
        lines_(std::move(prompts.lines)),
        rows_(std::move(rows)) {}

  const std::string& name() const override { return name_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(rows_.size()); }

  std::string place(std::int64_t index) const override {
    const std::int64_t row = rows_.at(static_cast<std::size_t>(index));
    return file_ + ":" + std::to_string(lines_[static_cast<std::size_t>(row)]);
  }

  Task task(std::int64_t index) const override {
    const std::int64_t row = rows_.at(static_cast<std::size_t>(index));
    const std::string& prompt = prompts_[static_cast<std::size_t>(row)];
    Task out;
    out.example_id = row;
    if (!system_prompt_.empty()) out.prompt.push_back({"system", system_prompt_});
    out.prompt.push_back({"user", prompt});
    out.answer = reversed(prompt);
    return out;
  }

  Score score(const Task& task, const Responses& responses) const override {
    const std::string& completion = responses.back();
    const std::string_view content = tag_content(completion, "reversed_text").value_or(std::string_view{});
    const double value = bounded_ratio(to_code_points(content), to_code_points(task.answer));
    return {value, {{"lcs_reward_func", value}}};
  }

  Responses perfect_responses(const Task& task) const override {
    return {"<reversed_text>" + task.answer + "</reversed_text>"};
  }

 private:
  std::string name_, system_prompt_, file_;
  std::vector<std::string> prompts_;
  std::vector<std::int64_t> lines_;  // in the file, of each prompt
  std::vector<std::int64_t> rows_;
};

}  // namespace

std::unique_ptr<Environment> make_reverse_text(const std::string& name, Arguments& arguments) {
  const std::string data = arguments.text("data", "");
  const std::string column = arguments.text("column", "prompt");
  const std::string system_prompt = arguments.optional_text("system_prompt", kSystemPrompt).value_or("");
  const SplitArguments split = SplitArguments::read(arguments);
  arguments.refuse_others();
  if (data.empty())
    throw arguments.refusal("data", "it is not set", "give the path of a JSONL file with a column 'prompt'");
  JsonlColumn prompts = read_jsonl_column(data, column);
  std::vector<std::int64_t> rows = split_indices(prompts.values, split, name);
  return std::make_unique<ReverseText>(name, system_prompt, data, std::move(prompts), std::move(rows));
}

}  // namespace rlcpp::env
