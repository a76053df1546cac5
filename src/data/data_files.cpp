#include "data/data_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace rlcpp::data {
namespace {

// Formats in the order of preference.
constexpr std::array<std::string_view, 7> kEnds = {".jsonl", ".ndjson",   ".jsonl.zst", ".ndjson.zst",
                                                   ".json",  ".json.zst", ".parquet"};
// Words that the hub reads as splits.
const std::map<std::string, std::string, std::less<>>& split_words() {
  static const std::map<std::string, std::string, std::less<>> words = {
      {"train", "train"},      {"training", "train"}, {"validation", "validation"},
      {"valid", "validation"}, {"val", "validation"}, {"dev", "validation"},
      {"test", "test"},        {"testing", "test"},   {"eval", "test"},
      {"evaluation", "test"}};
  return words;
}

std::size_t format_of(std::string_view name) {
  for (std::size_t i = 0; i < kEnds.size(); ++i) {
    if (name.ends_with(kEnds[i])) return i;
  }
  return kEnds.size();
}

bool is_data(std::string_view name) {
  // Descriptions that lie beside the rows.
  const std::string_view file = name.substr(name.rfind('/') + 1);
  return format_of(name) < kEnds.size() && file != "dataset_info.json" && file != "dataset_infos.json" &&
         file != "dataset_dict.json" && file != "state.json" && file != "LICENSE.json" &&
         !file.starts_with(".");
}

std::vector<std::string> words_of(std::string_view path) {
  std::vector<std::string> words(1);
  for (const char c : path) {
    if (std::string_view("/-._ ").find(c) != std::string_view::npos) {
      words.emplace_back();
    } else {
      words.back().push_back(c);
    }
  }
  return words;
}

// The word itself, or one that means it.
bool says_split(std::string_view path, const std::string& split) {
  for (const std::string& word : words_of(path)) {
    if (word == split) return true;
    const auto found = split_words().find(word);
    if (found != split_words().end() && found->second == split) return true;
  }
  return false;
}

bool says_any_split(std::string_view path) {
  const std::vector<std::string> words = words_of(path);
  return std::any_of(words.begin(), words.end(),
                     [](const auto& word) { return split_words().contains(word); });
}

// As a folder, or at the beginning of a folder's or file's name: "main/train.jsonl", "data/main-train.jsonl".
bool says_subset(std::string_view path, const std::string& subset) {
  for (std::size_t at = path.find(subset); at != std::string_view::npos; at = path.find(subset, at + 1)) {
    const std::size_t end = at + subset.size();
    const bool begins = at == 0 || path[at - 1] == '/';
    const bool ends = end < path.size() && std::string_view("/-._").find(path[end]) != std::string_view::npos;
    if (begins && ends) return true;
  }
  return false;
}

std::vector<std::string> of_best_format(std::vector<std::string> names) {
  std::size_t best = kEnds.size();
  for (const std::string& name : names) best = std::min(best, format_of(name));
  std::erase_if(names, [&](const std::string& name) { return format_of(name) != best; });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> find_part(const std::vector<std::string>& names, const DataPart& part) {
  std::vector<std::string> data;
  for (const std::string& name : names) {
    if (is_data(name) && (part.subset.empty() || says_subset(name, part.subset))) data.push_back(name);
  }
  if (part.subset.empty()) {
    for (const std::string_view end : kEnds) {
      const std::string exact = part.split + std::string(end);
      if (std::find(data.begin(), data.end(), exact) != data.end()) return {exact};
    }
  }
  std::vector<std::string> found;
  std::copy_if(data.begin(), data.end(), std::back_inserter(found),
               [&](const std::string& name) { return says_split(name, part.split); });
  const bool unsplit = std::none_of(data.begin(), data.end(), says_any_split);
  if (found.empty() && part.split == "train" && unsplit) found = data;
  return of_best_format(std::move(found));
}

// N of "...-of-0000N.ext"; 0: not numbered.
std::size_t shards_of(std::string_view name) {
  const std::size_t at = name.rfind("-of-");
  std::size_t count = 0;
  if (at != std::string_view::npos) std::from_chars(name.data() + at + 4, name.data() + name.size(), count);
  return count;
}

}  // namespace

std::vector<DataPart> parts_of(const std::vector<std::string>& subsets,
                               const std::vector<std::string>& splits) {
  if (splits.empty())
    throw bad_input("data.splits is empty", {}, "name at least one split, such as \"train\"");
  std::vector<DataPart> parts;
  if (subsets.empty()) {
    for (const std::string& split : splits) parts.push_back({"", split});
  } else if (splits.size() == 1 || subsets.size() == splits.size()) {
    for (std::size_t i = 0; i < subsets.size(); ++i)
      parts.push_back({subsets[i], splits[splits.size() == 1 ? 0 : i]});
  } else {
    throw bad_input("data.subsets and data.splits do not belong together",
                    fmt::format("{} subsets, {} splits", subsets.size(), splits.size()),
                    "name a split for each subset, or one for all");
  }
  return parts;
}

std::vector<std::string> match_data_files(const std::vector<std::string>& names, const DataPart& part,
                                          const std::string& data_set) {
  std::vector<std::string> found = find_part(names, part);
  if (!found.empty()) return found;
  std::vector<std::string> there;
  for (const std::string& name : names) {
    if (is_data(name) && there.size() < 8) there.push_back(name);
  }
  std::sort(there.begin(), there.end());
  throw bad_input(part.subset.empty() ? fmt::format("{} has no split \"{}\"", data_set, part.split)
                                      : fmt::format("{} has no split \"{}\" of a subset \"{}\"", data_set,
                                                    part.split, part.subset),
                  there.empty() ? "there is no .jsonl, .json, .zst or .parquet file in it"
                                : fmt::format("there are: {}", fmt::join(there, ", ")),
                  fmt::format("write {}.jsonl, or set the splits", part.split));
}

bool has_all_shards(const std::vector<std::string>& names, const std::vector<DataPart>& parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const DataPart& part) {
    const std::vector<std::string> found = find_part(names, part);
    if (found.empty()) return false;
    std::size_t numbered = 0, wanted = 0;
    for (const std::string& name : found) {
      if (shards_of(name) == 0) continue;
      ++numbered;
      wanted = std::max(wanted, shards_of(name));
    }
    return numbered == wanted;
  });
}

}  // namespace rlcpp::data
