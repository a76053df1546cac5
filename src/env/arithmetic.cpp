// arithmetic: generated integer problems, exact match.
//
// Arguments: min, max (range of the operands, 0 and 99), ops (["+", "-"]; also "*"), terms (2), size (10,000
// tasks), system_prompt, and those of split.h; `seed` also draws the tasks. The answer read from a completion
// is the content of the last \boxed{}; without one, the last integer of the text. Reward 1 if it is the right
// integer (a sign, leading zeros and surrounding space do not matter), else 0. "*" binds tighter, as usual.
#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/rng.h"
#include "env/builtin.h"
#include "env/split.h"
#include "env/tags.h"
#include "env/unicode.h"

namespace rlcpp::env {
namespace {

constexpr const char* kArithmeticPrompt = "Work out the result. Put your answer in \\boxed{}.";
constexpr std::uint64_t kTaskStream = 0xA2;
constexpr std::int64_t kOperandLimit = 1'000'000;

struct Problem {
  std::string text;
  std::int64_t answer = 0;
};

struct ProblemArguments {
  std::int64_t min = 0, max = 99, terms = 2;
  std::vector<std::string> ops = {"+", "-"};
};

// A pure function of seed and index, so that a longer list starts with the shorter one. At most three factors
// of 10^6 and signs: |answer| < 2^63.
Problem make_problem(const ProblemArguments& arguments, std::uint64_t seed, std::int64_t index) {
  Rng rng(mix64(seed, static_cast<std::uint64_t>(index)), kTaskStream);
  const auto operand = [&] {
    return arguments.min + static_cast<std::int64_t>(
                               rng.below(static_cast<std::uint64_t>(arguments.max - arguments.min) + 1));
  };
  const auto written = [](std::int64_t value) {
    return value < 0 ? fmt::format("({})", value) : fmt::format("{}", value);
  };
  std::int64_t sum = 0;
  std::int64_t product = operand();  // with its sign
  std::string text = written(product);
  for (std::int64_t term = 1; term < arguments.terms; ++term) {
    const std::string& op = arguments.ops[rng.below(arguments.ops.size())];
    const std::int64_t value = operand();
    text += fmt::format(" {} {}", op, written(value));
    if (op == "*") {
      product *= value;
    } else {
      sum += product;
      product = op == "-" ? -value : value;
    }
  }
  return {std::move(text), sum + product};
}

// "+7", "007" and " -3 " are integers; "7.0", "1,000" and numbers beyond 64 bits are not.
bool reads_as(std::string_view text, std::int64_t wanted) {
  text = strip(text);
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value == wanted;
}

class Arithmetic final : public Environment {
 public:
  Arithmetic(std::string name, std::string system_prompt, std::vector<Problem> problems,
             std::vector<std::int64_t> rows)
      : name_(std::move(name)),
        system_prompt_(std::move(system_prompt)),
        problems_(std::move(problems)),
        rows_(std::move(rows)) {}

  const std::string& name() const override { return name_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(rows_.size()); }

  Task task(std::int64_t index) const override {
    const std::int64_t row = rows_.at(static_cast<std::size_t>(index));
    const Problem& problem = problems_[static_cast<std::size_t>(row)];
    Task out;
    out.example_id = row;
    if (!system_prompt_.empty()) out.prompt.push_back({"system", system_prompt_});
    out.prompt.push_back({"user", problem.text});
    out.answer = fmt::format("{}", problem.answer);
    return out;
  }

  Score score(const Task& task, const Responses& responses) const override {
    const std::string& completion = responses.back();
    const std::int64_t wanted = std::stoll(task.answer);
    const auto boxed = last_boxed(completion);
    const auto found = boxed.has_value() ? boxed : last_integer(completion);
    const double value = found.has_value() && reads_as(*found, wanted) ? 1.0 : 0.0;
    return {value, {{"exact_match", value}, {"boxed", boxed.has_value() ? 1.0 : 0.0}}};
  }

  Responses perfect_responses(const Task& task) const override { return {"\\boxed{" + task.answer + "}"}; }

 private:
  std::string name_, system_prompt_;
  std::vector<Problem> problems_;
  std::vector<std::int64_t> rows_;
};

}  // namespace

std::unique_ptr<Environment> make_arithmetic(const std::string& name, Arguments& arguments) {
  ProblemArguments problem;
  problem.min = arguments.integer("min", problem.min, -kOperandLimit, kOperandLimit);
  problem.max = arguments.integer("max", problem.max, -kOperandLimit, kOperandLimit);
  problem.ops = arguments.texts("ops", problem.ops);
  problem.terms = arguments.integer("terms", problem.terms, 2, 3);
  const std::int64_t size = arguments.integer("size", 10'000, 1, 10'000'000);
  const std::string system_prompt = arguments.optional_text("system_prompt", kArithmeticPrompt).value_or("");
  const SplitArguments split = SplitArguments::read(arguments);
  arguments.refuse_others();
  if (problem.min > problem.max) {
    throw arguments.refusal("min", fmt::format("it is {}, above max {}", problem.min, problem.max),
                            "swap them");
  }
  for (const std::string& op : problem.ops) {
    if (op != "+" && op != "-" && op != "*") {
      throw arguments.refusal("ops", "'" + op + "' is not an operation", "use \"+\", \"-\" and \"*\"");
    }
  }
  std::vector<Problem> problems;
  std::vector<std::string> texts;
  for (std::int64_t i = 0; i < size; ++i) {
    problems.push_back(make_problem(problem, split.seed, i));
    texts.push_back(problems.back().text);
  }
  std::vector<std::int64_t> rows = split_indices(texts, split, name);
  return std::make_unique<Arithmetic>(name, system_prompt, std::move(problems), std::move(rows));
}

}  // namespace rlcpp::env
