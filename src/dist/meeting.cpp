#include "dist/meeting.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace rlcpp::dist {
namespace {

constexpr std::size_t kNamed = 5;  // keys or processes that are named one by one

using Values = std::unordered_map<std::string, std::string>;

// The sections above a key, outermost first: of "a.b.c" "a" and "a.b".
std::vector<std::string> sections_of(const std::string& key) {
  std::vector<std::string> out;
  for (auto dot = key.find('.'); dot != std::string::npos; dot = key.find('.', dot + 1))
    out.push_back(key.substr(0, dot));
  return out;
}

// A section that one party has and another has not is one difference, not as many as it has keys.
std::string named_key(const std::string& key, const std::vector<Values>& all) {
  for (const std::string& section : sections_of(key)) {
    if (std::any_of(all.begin(), all.end(), [&](const Values& v) { return v.contains(section); }))
      return section;
  }
  return key;
}

std::string value_of(const std::string& key, const Values& values) {
  if (const auto found = values.find(key); found != values.end()) return found->second;
  const bool inside = std::any_of(values.begin(), values.end(),
                                  [&](const auto& entry) { return entry.first.starts_with(key + "."); });
  return inside ? "set" : "absent";
}

std::string who(const std::vector<const Party*>& parties) {
  if (parties.size() == 1) return fmt::format("process {} ({})", parties[0]->process, parties[0]->place);
  std::vector<int> numbers;
  numbers.reserve(parties.size());
  for (const Party* party : parties) numbers.push_back(party->process);
  if (numbers.size() == 2) return fmt::format("processes {} and {}", numbers[0], numbers[1]);
  if (numbers.size() <= kNamed) return fmt::format("processes {}", fmt::join(numbers, ", "));
  const std::size_t more = numbers.size() - kNamed;
  numbers.resize(kNamed);
  return fmt::format("processes {} and {} more", fmt::join(numbers, ", "), more);
}

std::string sentence(const std::string& key, const std::vector<Party>& parties,
                     const std::vector<Values>& all) {
  std::vector<std::pair<std::string, std::vector<const Party*>>> groups;  // by value, first come
  for (std::size_t i = 0; i < parties.size(); ++i) {
    const std::string value = value_of(key, all[i]);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == value; });
    if (group == groups.end()) group = groups.insert(groups.end(), {value, {}});
    group->second.push_back(&parties[i]);
  }
  std::string text;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (g == kNamed) return text + fmt::format(" and {} more values", groups.size() - g);
    text += fmt::format("{}{} in {}",
                        g == 0                   ? ""
                        : g + 1 == groups.size() ? " and "
                                                 : ", ",
                        groups[g].first, who(groups[g].second));
  }
  return text;
}

}  // namespace

std::optional<Fault> difference(const std::vector<Party>& parties) {
  std::vector<Values> all;
  std::vector<std::string> keys;
  std::unordered_set<std::string> known;
  for (const Party& party : parties) {
    Values& values = all.emplace_back();
    for (const auto& [key, value] : party.terms) {
      values.emplace(key, value);
      if (known.insert(key).second) keys.push_back(key);
    }
  }
  std::vector<std::string> different;
  for (const std::string& key : keys) {
    const auto differs = [&](const Values& values) {
      const Values& first = all.front();
      if (!first.contains(key) || !values.contains(key)) return first.contains(key) != values.contains(key);
      return first.at(key) != values.at(key);
    };
    if (std::none_of(all.begin(), all.end(), differs)) continue;
    const std::string name = named_key(key, all);
    if (std::find(different.begin(), different.end(), name) == different.end()) different.push_back(name);
  }
  if (different.empty()) return std::nullopt;
  Fault fault;
  fault.code = ExitCode::kBadInput;
  fault.what = fmt::format("the processes of this run were started with different values: {} is {}",
                           different.front(), sentence(different.front(), parties, all));
  const std::size_t others = different.size() - 1, named = std::min(others, kNamed);
  if (others > 0) {
    fault.because = fmt::format(
        "{}{} differ{} too", fmt::join(different.begin() + 1, different.begin() + 1 + named, ", "),
        others > named ? fmt::format(" and {} more keys", others - named) : "", others == 1 ? "s" : "");
  }
  fault.help = "start all processes of a run with the same arguments and files of configuration";
  return fault;
}

std::string name_of_run(std::string_view run_id) {
  return run_id.empty() ? "a run without dist.run_id" : fmt::format("run \"{}\"", run_id);
}

}  // namespace rlcpp::dist
