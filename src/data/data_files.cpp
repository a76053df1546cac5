#include "data/data_files.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace rlcpp::data {
namespace {

constexpr std::array<std::string_view, 7> kEnds = {".jsonl", ".ndjson",   ".jsonl.zst", ".ndjson.zst",
                                                   ".json",  ".json.zst", ".parquet"};
constexpr std::size_t kParquet = kEnds.size() - 1;
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

// Descriptions that lie beside the rows.
bool is_description(std::string_view name) {
  const std::string_view file = name.substr(name.rfind('/') + 1);
  return file == "dataset_info.json" || file == "dataset_infos.json" || file == "dataset_dict.json" ||
         file == "state.json" || file == "LICENSE.json" || file == "README.md" || file.starts_with(".");
}

bool is_data(std::string_view name) {
  return format_of(name) < kEnds.size() && !is_description(name);
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

// The word itself, or one that means it; of several words ("train_sft") all, as a subset's.
bool says_split(std::string_view path, const std::string& split) {
  for (const std::string& word : words_of(path)) {
    if (word == split) return true;
    const auto found = split_words().find(word);
    if (found != split_words().end() && found->second == split) return true;
  }
  return says_subset(path, split);
}

bool says_any_split(std::string_view path) {
  const std::vector<std::string> words = words_of(path);
  return std::any_of(words.begin(), words.end(),
                     [](const auto& word) { return split_words().contains(word); });
}

// The folder that is a file's subset, if any: the first one but data/, unless it is a split's.
std::string_view subset_folder(std::string_view path, const std::string& split) {
  for (std::size_t begin = 0, end = path.find('/'); end != std::string_view::npos;
       begin = end + 1, end = path.find('/', begin)) {
    const std::string_view folder = path.substr(begin, end - begin);
    if (begin == 0 && folder == "data") continue;
    return says_split(folder, split) || says_any_split(folder) ? std::string_view() : folder;
  }
  return {};
}

// "at most so many, and"
std::string listing(const std::vector<std::string>& names, std::size_t most = 8) {
  const std::size_t shown = std::min(names.size(), most);
  return fmt::format("{}{}",
                     fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     shown < names.size() ? fmt::format(" and {} more", names.size() - shown) : "");
}

Error several_subsets(const std::vector<std::string>& there, const DataPart& part,
                      const std::string& data_set) {
  return bad_input(
      fmt::format("{} has several subsets with a split \"{}\", and none is chosen", data_set, part.split),
      fmt::format("there are: {}", listing(there, 20)),
      fmt::format("name one in data.subsets, such as [\"{}\"], or several, which are mixed (for validation: "
                  "in val.data.subsets)",
                  there.front()));
}

// Nobody named a subset: the files of the one that is called "default", or those outside of all subsets, or
// the only one's.
std::vector<std::string> of_default_subset(const std::vector<std::string>& names, const DataPart& part,
                                           const std::string& data_set) {
  std::map<std::string, std::vector<std::string>, std::less<>> subsets;
  for (const std::string& name : names) subsets[std::string(subset_folder(name, part.split))].push_back(name);
  for (const char* subset : {"default", ""}) {
    if (const auto found = subsets.find(subset); found != subsets.end()) return found->second;
  }
  if (subsets.size() < 2) return names;
  std::vector<std::string> there;
  for (const auto& [subset, files] : subsets) there.push_back(subset);
  throw several_subsets(there, part, data_set);
}

// The same rows may lie there in several formats, or every format may have rows of its own.
void require_one_format(const std::vector<std::string>& names, const DataPart& part,
                        const std::string& data_set) {
  const auto other = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
    return format_of(name) != format_of(names.front());
  });
  if (other == names.end()) return;
  throw bad_input(fmt::format("{} has its split \"{}\"{} in several formats", data_set, part.split,
                              part.subset.empty() ? "" : fmt::format(" of the subset \"{}\"", part.subset)),
                  fmt::format("there are {} and {}", names.front(), *other),
                  "name a folder in data.subsets, or one file as data.name, or keep one of the formats");
}

std::vector<std::string> find_part(const std::vector<std::string>& names, const DataPart& part,
                                   const std::string& data_set) {
  const auto in_subset = [&](const std::string& name) { return says_subset(name, part.subset); };
  // Without subsets, "default" is what the hub calls all there is.
  const bool any = part.subset.empty() ||
                   (part.subset == "default" && std::none_of(names.begin(), names.end(), in_subset));
  std::vector<std::string> data, found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(data),
               [&](const std::string& name) { return is_data(name) && (any || in_subset(name)); });
  std::copy_if(data.begin(), data.end(), std::back_inserter(found),
               [&](const std::string& name) { return says_split(name, part.split); });
  const bool unsplit = std::none_of(data.begin(), data.end(), says_any_split);
  if (found.empty() && part.split == "train" && unsplit) found = data;
  std::sort(found.begin(), found.end());
  if (any && !found.empty()) {
    found = of_default_subset(found, part, data_set);
    // <split>.jsonl stands for itself, whatever else lies beside it ("train_results.json") but Parquet.
    std::vector<std::string> exact = found;
    std::erase_if(exact, [&](const std::string& name) {
      return format_of(name) != kParquet && name != part.split + std::string(kEnds[format_of(name)]);
    });
    if (std::any_of(exact.begin(), exact.end(), [](const auto& name) { return format_of(name) != kParquet; }))
      found = std::move(exact);
  }
  if (!found.empty()) require_one_format(found, part, data_set);
  return found;
}

// The subset that is meant; nullptr: the card does not know it. Throws if nobody named one, and several could
// be meant.
const CardSubset* subset_of_card(const DataCard& card, const DataPart& part, const std::string& data_set) {
  const auto named = [&](const std::string& name) {
    return std::find_if(card.subsets.begin(), card.subsets.end(),
                        [&](const CardSubset& subset) { return subset.name == name; });
  };
  auto found = named(part.subset);
  if (part.subset.empty()) {
    found = std::find_if(card.subsets.begin(), card.subsets.end(),
                         [](const CardSubset& subset) { return subset.is_default; });
    if (found == card.subsets.end()) found = named("default");
    if (found == card.subsets.end() && card.subsets.size() == 1) found = card.subsets.begin();
    if (found == card.subsets.end() && !card.subsets.empty()) {
      std::vector<std::string> there;
      for (const CardSubset& subset : card.subsets) there.push_back(subset.name);
      throw several_subsets(there, part, data_set);
    }
  }
  return found == card.subsets.end() ? nullptr : &*found;
}

// The split itself, or one whose name means it.
const CardSplit* split_of_card(const CardSubset& subset, const std::string& split) {
  for (const bool exactly : {true, false}) {
    for (const CardSplit& candidate : subset.splits) {
      const auto meaning = split_words().find(candidate.name);
      if (exactly ? candidate.name == split : meaning != split_words().end() && meaning->second == split)
        return &candidate;
    }
  }
  return nullptr;
}

std::vector<std::string> find_by_card(const std::vector<std::string>& names, const CardSubset& subset,
                                      const DataPart& part, const std::string& data_set) {
  const std::string root = subset.folder.empty() ? "" : subset.folder + "/";
  if (subset.splits.empty()) {
    std::vector<std::string> inside;
    for (const std::string& name : names) {
      if (name.starts_with(root)) inside.push_back(name.substr(root.size()));
    }
    std::vector<std::string> found = find_part(inside, {"", part.split}, data_set);
    for (std::string& name : found) name.insert(0, root);
    return found;
  }
  const CardSplit* split = split_of_card(subset, part.split);
  if (split == nullptr) {
    std::vector<std::string> there;
    for (const CardSplit& each : subset.splits) there.push_back(each.name);
    throw bad_input(
        fmt::format("{} has no split \"{}\" of a subset \"{}\"", data_set, part.split, subset.name),
        fmt::format("its README.md names: {}", listing(there)), "set the splits");
  }
  std::vector<std::string> found;
  for (const std::string& pattern : split->patterns) {
    std::vector<std::string> matching;
    for (const std::string& name : names) {
      const bool row_file = !is_description(name) && matches_pattern(name, root + pattern);
      if (row_file && std::find(found.begin(), found.end(), name) == found.end()) matching.push_back(name);
    }
    std::sort(matching.begin(), matching.end());
    found.insert(found.end(), matching.begin(), matching.end());
  }
  if (found.empty()) {
    throw bad_input(fmt::format("{} has no file of its split \"{}\"", data_set, part.split),
                    fmt::format("README.md says they are: {}", listing(split->patterns)),
                    "look whether the data set is whole");
  }
  const auto strange = std::find_if(found.begin(), found.end(),
                                    [](const std::string& name) { return format_of(name) == kEnds.size(); });
  if (strange != found.end()) {
    throw bad_input(
        fmt::format("{} cannot be read: its split \"{}\" is no JSON and no Parquet", data_set, part.split),
        fmt::format("README.md counts {} among its files", *strange),
        "write it as .jsonl, .json, .zst of these, or .parquet");
  }
  require_one_format(found, part, data_set);
  return found;
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
                                          const std::string& data_set, const DataCard& card) {
  const CardSubset* subset = subset_of_card(card, part, data_set);
  std::vector<std::string> found =
      subset != nullptr ? find_by_card(names, *subset, part, data_set) : find_part(names, part, data_set);
  if (!found.empty()) return found;
  std::vector<std::string> there;
  for (const std::string& name : names) {
    if (is_data(name)) there.push_back(name);
  }
  std::sort(there.begin(), there.end());
  throw bad_input(part.subset.empty() ? fmt::format("{} has no split \"{}\"", data_set, part.split)
                                      : fmt::format("{} has no split \"{}\" of a subset \"{}\"", data_set,
                                                    part.split, part.subset),
                  there.empty() ? "there is no .jsonl, .json, .zst or .parquet file in it"
                                : fmt::format("there are: {}", listing(there)),
                  fmt::format("write {}.jsonl, or set the splits", part.split));
}

}  // namespace rlcpp::data
