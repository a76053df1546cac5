#include "data/dataset.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/readable.h"
#include "data/data_files.h"

namespace rlcpp::data {
namespace {

namespace fs = std::filesystem;

// Names of all files below `root`, relative to it.
std::vector<std::string> names_below(const std::string& root) {
  std::vector<std::string> names;
  std::error_code error;
  // A folder that may not be read hides nothing but itself.
  constexpr auto kOptions = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator at(root, kOptions, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (at.depth() > 8) at.disable_recursion_pending();
    if (fs::is_regular_file(at->path(), ignored))
      names.push_back(at->path().lexically_relative(root).string());
  }
  return names;
}

}  // namespace

FoundFiles find_files(const std::string& name, const std::vector<std::string>& subsets,
                      const std::vector<std::string>& splits, const std::string& key) {
  std::error_code ignored, error;
  const fs::file_type type = fs::status(name, error).type();
  if (type == fs::file_type::none || type == fs::file_type::unknown) {
    throw bad_input(fmt::format("{} = \"{}\" cannot be read", key, name), error.message(),
                    "give yourself the right to read it, or another path");
  }
  if (fs::is_regular_file(name, ignored)) return {{{name}}, {}};
  if (!fs::is_directory(name, ignored)) {
    throw bad_input(fmt::format("{} = \"{}\" is neither a file nor a directory", key, name),
                    "nor can it be the id of a data set of the hub, such as \"org/name\"",
                    "give a .jsonl file, a directory with train.jsonl, or such an id");
  }
  require_readable_directory(name, key);
  const std::vector<std::string> names = names_below(name);
  DataCard card;
  if (std::find(names.begin(), names.end(), "README.md") != names.end())
    card = read_data_card(durable::read_file(name + "/README.md"));
  std::vector<std::vector<std::string>> paths;
  for (const DataPart& part : parts_of(subsets, splits)) {
    paths.emplace_back();
    for (const std::string& file : match_data_files(names, part, fmt::format("{} = \"{}\"", key, name), card))
      paths.back().push_back(fmt::format("{}/{}", name, file));
  }
  return {std::move(paths), std::move(card.notes)};
}

void Dataset::read(const std::string& path) {
  paths_.push_back(path);
  texts_.push_back(read_data_lines(path));
  const std::string& text = texts_.back();
  fingerprint_ = durable::crc32c(std::as_bytes(std::span(text)), fingerprint_);
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    ++number;
    const std::string_view line(text.data() + begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      lines_.push_back({texts_.size() - 1, begin, end - begin, number});
    }
    begin = end + 1;
  }
}

Dataset Dataset::open(const std::string& name, const std::vector<std::string>& splits, const std::string& key,
                      const std::vector<std::string>& subsets, const Mixing& mixing) {
  return open_files(find_files(name, subsets, splits, key).parts, mixing);
}

Dataset Dataset::open_files(const std::vector<std::vector<std::string>>& parts, const Mixing& mixing) {
  Dataset set;
  validate_mixing(mixing, parts.size());
  std::vector<std::int64_t> lengths;
  for (const std::vector<std::string>& part : parts) {
    const std::int64_t before = set.size();
    for (const std::string& path : part) set.read(path);
    lengths.push_back(set.size() - before);
    if (lengths.back() == 0) {
      throw bad_input(fmt::format("{} has no rows", fmt::join(part, ", ")), "every line is empty",
                      "write one JSON object a line");
    }
  }
  if (parts.size() == 1 || mixing.strategy == "concatenate") return set;
  const std::vector<std::int64_t> order = mix(lengths, mixing);
  set.fingerprint_ = durable::crc32c(std::as_bytes(std::span(order)), set.fingerprint_);
  std::vector<Line> mixed;
  mixed.reserve(order.size());
  for (const std::int64_t row : order) mixed.push_back(set.lines_[static_cast<std::size_t>(row)]);
  set.lines_ = std::move(mixed);
  return set;
}

std::string_view Dataset::line(std::int64_t row) const {
  const Line& l = lines_.at(static_cast<std::size_t>(row));
  return std::string_view(texts_[l.file]).substr(l.offset, l.length);
}

std::string Dataset::place(std::int64_t row) const {
  const Line& l = lines_.at(static_cast<std::size_t>(row));
  return fmt::format("{}:{}", paths_[l.file], l.number);
}

std::size_t Dataset::bytes() const {
  std::size_t sum = 0;
  for (const std::string& text : texts_) sum += text.size();
  return sum;
}

}  // namespace rlcpp::data
