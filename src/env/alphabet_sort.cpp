// alphabet-sort: a list of names is put in order, and over the turns more names come to it. Tags, mark,
// arguments, and reward are those of verifiers' environment of that name (environments/alphabet_sort, version
// 0.1.9); the names are drawn from lists of our own (names.h) rather than from a data set, and the sentences
// are ours.
//
// Arguments: max_turns (3), min_turns (1), min_names_per_turn (1), max_names_per_turn (5), similarity_power
// (4), power_per_turn (true), size (10,000 tasks), and those of split.h; `seed` (1337420) also draws the
// tasks. A task has min_turns to max_turns turns, each with its number of new names, and is by first or by
// last name throughout. No two names of a task share a first or a last name, so that there is one right
// order.
//
// Names are written as one word (AliceJohnson). The first answer is read from <alphabetical_sorted>, later
// ones, which hold all names so far, the new ones marked "// new name!", from <combined_alphabetical_sorted>.
// A turn's similarity is the difflib ratio of its lines and the right ones, stripped and in lower case. Of
// several attempts in one response each must be better than the one before, else the turn counts 0; then the
// last one counts. Reward: the mean over the task's turns of similarity^similarity_power, or, without
// power_per_turn, the mean similarity to that power. Turns that were not reached count 0.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "env/builtin.h"
#include "env/difflib.h"
#include "env/names.h"
#include "env/split.h"
#include "env/tags.h"
#include "env/unicode.h"

namespace rlcpp::env {
namespace {

constexpr std::uint64_t kEpisodeStream = 0xA5;
constexpr std::int64_t kSeed = 1337420;
constexpr const char* kNewMark = " // new name!";
constexpr const char* kFirstTag = "alphabetical_sorted";
constexpr const char* kLaterTag = "combined_alphabetical_sorted";

struct Shape {
  std::int64_t min_turns = 1, max_turns = 3, min_names = 1, max_names = 5;
};

struct Episode {
  std::vector<std::string> questions;             // one a turn
  std::vector<std::vector<std::string>> answers;  // the right lines of each turn
};

// `count` different places below `size`, in the order they were drawn.
std::vector<std::size_t> draw(Rng& rng, std::size_t size, std::size_t count) {
  std::vector<std::size_t> all(size);
  for (std::size_t i = 0; i < size; ++i) all[i] = i;
  for (std::size_t i = 0; i < count; ++i) std::swap(all[i], all[i + rng.below(size - i)]);
  all.resize(count);
  return all;
}

std::int64_t between(Rng& rng, std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(most - least) + 1));
}

// A pattern of `lines` lines, of which those from `fresh` on are marked: it shows the form, not how many
// there are.
std::string pattern(const char* tag, std::int64_t lines, std::int64_t fresh) {
  std::string out = fmt::format("Answer in this form:\n<{}>\n", tag);
  for (std::int64_t i = 1; i <= lines; ++i) out += fmt::format("Name{}{}\n", i, i > fresh ? kNewMark : "");
  return out + fmt::format("</{}>", tag);
}

// A pure function of seed and index, so that a longer list starts with the shorter one.
Episode make_episode(const Shape& shape, std::uint64_t seed, std::int64_t index) {
  Rng rng(mix64(seed, static_cast<std::uint64_t>(index)), kEpisodeStream);
  std::vector<std::int64_t> counts;
  std::size_t total = 0;
  for (std::int64_t turn = between(rng, shape.min_turns, shape.max_turns); turn > 0; --turn) {
    counts.push_back(between(rng, shape.min_names, shape.max_names));
    total += static_cast<std::size_t>(counts.back());
  }
  const bool by_first = rng.below(2) == 0;
  const char* which = by_first ? "FIRST" : "LAST";
  const std::vector<std::size_t> given = draw(rng, given_names().size(), total);
  const std::vector<std::size_t> family = draw(rng, family_names().size(), total);

  struct Entry {
    std::string key, name;
    std::size_t turn;
  };
  std::vector<Entry> list;
  Episode out;
  for (std::size_t turn = 0; turn < counts.size(); ++turn) {
    std::vector<std::string> fresh;
    for (std::int64_t i = 0; i < counts[turn]; ++i) {
      const std::string first(given_names()[given[list.size()]]);
      const std::string last(family_names()[family[list.size()]]);
      list.push_back({by_first ? first : last, first + last, turn});
      fresh.push_back(first + last);
    }
    const std::string names = fmt::format("{}", fmt::join(fresh, ", "));
    const auto held = static_cast<std::int64_t>(list.size());
    if (turn == 0) {
      const std::int64_t lines = between(rng, shape.min_names, shape.max_names);
      out.questions.push_back(fmt::format("Put these names in alphabetical order of the {} name: {}\n\n{}",
                                          which, names, pattern(kFirstTag, lines, lines)));
    } else {
      std::string question = fmt::format(
          "Here are more names: {}\n\nPut ALL names, those of the list so far too, in alphabetical order of "
          "the {} "
          "name, and write `// new name!` behind those that were not in the list.",
          names, which);
      const std::int64_t lines = between(rng, shape.min_names, held);
      const std::int64_t unmarked = between(rng, 0, lines - 1);
      question +=
          turn == 1 ? "\n\n" + pattern(kLaterTag, lines, unmarked) : std::string(" The form stays the same.");
      out.questions.push_back(std::move(question));
    }
    std::vector<Entry> sorted = list;
    std::sort(sorted.begin(), sorted.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
    std::vector<std::string>& lines = out.answers.emplace_back();
    for (const Entry& entry : sorted)
      lines.push_back(entry.name + (turn > 0 && entry.turn == turn ? kNewMark : ""));
  }
  return out;
}

// Lines that are not empty, stripped and in lower case, as one text. Letters outside ASCII stay as they are:
// no right line has one.
std::u32string comparable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = strip(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.empty()) continue;
    if (!out.empty()) out.push_back('\n');
    for (const char c : line) out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return to_code_points(out);
}

double similarity(const std::string& response, std::size_t turn, const std::vector<std::string>& lines) {
  const std::u32string wanted = comparable(fmt::format("{}", fmt::join(lines, "\n")));
  double last = 0;
  bool first = true;
  for (const std::string_view attempt : tag_contents(response, turn == 0 ? kFirstTag : kLaterTag)) {
    const std::u32string found = comparable(attempt);
    const double value = found.empty() ? 0.0 : bounded_ratio(found, wanted);
    if (!first && value <= last) return 0.0;
    last = value;
    first = false;
  }
  return last;
}

class AlphabetSort final : public Environment {
 public:
  AlphabetSort(std::string name, const Shape& shape, std::int64_t power, bool power_per_turn,
               std::uint64_t seed, std::vector<std::int64_t> rows)
      : name_(std::move(name)),
        shape_(shape),
        power_(static_cast<double>(power)),
        power_per_turn_(power_per_turn),
        seed_(seed),
        rows_(std::move(rows)) {}

  const std::string& name() const override { return name_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(rows_.size()); }

  Task task(std::int64_t index) const override {
    Task out;
    out.example_id = rows_.at(static_cast<std::size_t>(index));
    const Episode episode = episode_of(out);
    out.prompt.push_back({"user", episode.questions.front()});
    out.answer = nlohmann::json(episode.answers).dump();  // a list of lines a turn
    return out;
  }

  std::int64_t max_turns() const override { return shape_.max_turns; }
  std::vector<std::string> reply_roles() const override { return {"user"}; }
  std::vector<Message> reply(const Task& task, const Responses& responses) const override {
    const Episode episode = episode_of(task);
    if (responses.size() >= episode.questions.size()) return {};
    return {{"user", episode.questions[responses.size()]}};
  }

  Score score(const Task& task, const Responses& responses) const override {
    const Episode episode = episode_of(task);
    double sum = 0;
    for (std::size_t turn = 0; turn < std::min(responses.size(), episode.answers.size()); ++turn) {
      const double value = similarity(responses[turn], turn, episode.answers[turn]);
      sum += power_per_turn_ ? std::pow(value, power_) : value;
    }
    const double mean = sum / static_cast<double>(episode.answers.size());
    const double reward = power_per_turn_ ? mean : std::pow(mean, power_);
    return {reward, {{"weighted_reward", reward}}};
  }

  Responses perfect_responses(const Task& task) const override {
    Responses out;
    for (const std::vector<std::string>& lines : episode_of(task).answers) {
      const char* tag = out.empty() ? kFirstTag : kLaterTag;
      out.push_back(fmt::format("<{}>\n{}\n</{}>", tag, fmt::join(lines, "\n"), tag));
    }
    return out;
  }

 private:
  Episode episode_of(const Task& task) const { return make_episode(shape_, seed_, task.example_id); }

  std::string name_;
  Shape shape_;
  double power_;
  bool power_per_turn_;
  std::uint64_t seed_;
  std::vector<std::int64_t> rows_;
};

void require_order(const Arguments& arguments, const char* low, std::int64_t least, const char* high,
                   std::int64_t most) {
  if (least <= most) return;
  throw arguments.refusal(low, fmt::format("it is {}, above {} {}", least, high, most), "swap them");
}

}  // namespace

std::unique_ptr<Environment> make_alphabet_sort(const std::string& name, Arguments& arguments) {
  constexpr std::int64_t kMostTurns = 32;
  const auto names = static_cast<std::int64_t>(std::min(given_names().size(), family_names().size()));
  Shape shape;
  shape.max_turns = arguments.integer("max_turns", shape.max_turns, 1, kMostTurns);
  shape.min_turns = arguments.integer("min_turns", shape.min_turns, 1, kMostTurns);
  shape.min_names = arguments.integer("min_names_per_turn", shape.min_names, 1, names);
  shape.max_names = arguments.integer("max_names_per_turn", shape.max_names, 1, names);
  const std::int64_t power = arguments.integer("similarity_power", 4, 1, 100);
  const bool power_per_turn = arguments.flag("power_per_turn", true);
  const std::int64_t size = arguments.integer("size", 10'000, 1, 1'000'000);
  SplitArguments split = SplitArguments::read(arguments);
  if (!arguments.has("seed")) split.seed = kSeed;
  if (arguments.has("hf_dataset_path")) {
    throw arguments.refusal("hf_dataset_path",
                            "no data set is read: names are drawn from a list of this program", "remove it");
  }
  arguments.refuse_others();
  require_order(arguments, "min_turns", shape.min_turns, "max_turns", shape.max_turns);
  require_order(arguments, "min_names_per_turn", shape.min_names, "max_names_per_turn", shape.max_names);
  if (shape.max_turns * shape.max_names > names) {
    throw arguments.refusal("max_names_per_turn",
                            fmt::format("{} turns of {} names need more than the {} names there are",
                                        shape.max_turns, shape.max_names, names),
                            "lower it, or max_turns");
  }
  std::vector<std::string> prompts;
  for (std::int64_t i = 0; i < size; ++i)
    prompts.push_back(make_episode(shape, split.seed, i).questions.front());
  std::vector<std::int64_t> rows = split_indices(prompts, split, name);
  return std::make_unique<AlphabetSort>(name, shape, power, power_per_turn, split.seed, std::move(rows));
}

}  // namespace rlcpp::env
