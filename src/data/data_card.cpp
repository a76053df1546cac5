#include "data/data_card.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/log.h"
#include "data/card_yaml.h"

namespace rlcpp::data {
namespace {

using nlohmann::ordered_json;

// A string or a list of strings.
std::optional<std::vector<std::string>> texts_of(const ordered_json& value) {
  if (value.is_string()) return std::vector<std::string>{value.get<std::string>()};
  if (!value.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const ordered_json& text : value) {
    if (!text.is_string()) return std::nullopt;
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

std::optional<std::vector<CardSplit>> splits_of(const ordered_json& value) {
  // Without splits all of it is train, as for Python's datasets.
  if (const auto patterns = texts_of(value)) return std::vector<CardSplit>{{"train", *patterns}};
  std::vector<CardSplit> splits;
  const auto add = [&](const std::string& name, const ordered_json& paths) {
    const auto patterns = texts_of(paths);
    if (patterns) splits.push_back({name, *patterns});
    return patterns.has_value();
  };
  if (value.is_object()) {
    for (const auto& [name, paths] : value.items()) {
      if (!add(name, paths)) return std::nullopt;
    }
    return splits;
  }
  if (!value.is_array()) return std::nullopt;
  for (const ordered_json& entry : value) {
    if (!entry.is_object() || !entry.contains("path")) return std::nullopt;
    const bool named = entry.contains("split");
    if (named && !entry["split"].is_string()) return std::nullopt;
    if (!add(named ? entry["split"].get<std::string>() : "train", entry["path"])) return std::nullopt;
  }
  return splits;
}

std::string text_at(const ordered_json& mapping, const char* key, const std::string& otherwise) {
  return mapping.contains(key) && mapping[key].is_string() ? mapping[key].get<std::string>() : otherwise;
}

// One place of a path: a set of the places where what came before of the pattern can end.
using Places = std::vector<bool>;

// "[a-c]", "[!a]": whether it holds `c`. `set` is what stands in the brackets.
bool in_set(std::string_view set, char c) {
  const bool others = set.starts_with('!');
  if (others) set.remove_prefix(1);
  bool found = false;
  for (std::size_t i = 0; i < set.size(); ++i) {
    const bool range = i + 2 < set.size() && set[i + 1] == '-';
    found = found || (range ? set[i] <= c && c <= set[i + 2] : set[i] == c);
    i += range ? 2 : 0;
  }
  return found != others && c != '/';
}

}  // namespace

bool matches_pattern(std::string_view path, std::string_view pattern) {
  while (pattern.starts_with("./")) pattern.remove_prefix(2);
  Places here(path.size() + 1, false);
  here[0] = true;
  while (!pattern.empty()) {
    Places next(path.size() + 1, false);
    std::size_t used = 1;
    if (pattern.starts_with("**")) {
      const bool folders = pattern.starts_with("**/");
      used = folders ? 3 : 2;
      bool open = false;
      for (std::size_t i = 0; i <= path.size(); ++i) {
        next[i] = here[i] || (open && (!folders || path[i - 1] == '/'));
        open = open || here[i];
      }
    } else if (pattern[0] == '*') {
      for (std::size_t i = 0; i <= path.size(); ++i)
        next[i] = here[i] || (i > 0 && next[i - 1] && path[i - 1] != '/');
    } else {
      const std::size_t close = pattern[0] == '[' ? pattern.find(']', 2) : std::string_view::npos;
      const bool set = close != std::string_view::npos;
      if (set) used = close + 1;
      for (std::size_t i = 0; i < path.size(); ++i) {
        const char c = path[i];
        next[i + 1] = here[i] && (set                 ? in_set(pattern.substr(1, close - 1), c)
                                  : pattern[0] == '?' ? c != '/'
                                                      : c == pattern[0]);
      }
    }
    here = std::move(next);
    pattern.remove_prefix(used);
  }
  return here[path.size()];
}

DataCard read_data_card(std::string_view markdown) {
  DataCard card;
  const auto note = [&](const std::string& what) {
    card.notes.push_back(
        fmt::format("{} in README.md of the data set is not understood and passed over: files "
                    "are found by their names",
                    printable(what)));
  };
  ordered_json configs;
  try {
    configs = yaml_header_value(markdown, "configs");
  } catch (const UnknownYaml& unknown) {
    note(fmt::format("\"configs\" ({})", unknown.what()));
    return card;
  }
  if (configs.is_null()) return card;
  if (!configs.is_array()) {
    note("\"configs\", which is no list,");
    return card;
  }
  for (const ordered_json& config : configs) {
    if (!config.is_object()) {
      note("an entry of \"configs\"");
      continue;
    }
    CardSubset subset;
    subset.name = text_at(config, "config_name", "default");
    if (subset.name.empty()) {  // nobody could ask for it
      note("an entry of \"configs\" without a name");
      continue;
    }
    const std::string is_default = text_at(config, "default", "false");
    subset.is_default = is_default == "true" || is_default == "True" || is_default == "TRUE";
    subset.folder = text_at(config, "data_dir", "");
    while (subset.folder.starts_with("./")) subset.folder.erase(0, 2);
    while (subset.folder.ends_with('/')) subset.folder.pop_back();
    if (config.contains("data_files") && !config["data_files"].is_null()) {
      auto splits = splits_of(config["data_files"]);
      if (!splits) {
        note(fmt::format("\"data_files\" of the subset \"{}\"", subset.name));
        continue;
      }
      subset.splits = std::move(*splits);
    }
    card.subsets.push_back(std::move(subset));
  }
  return card;
}

}  // namespace rlcpp::data
