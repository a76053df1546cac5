#include "data/dataset.h"

#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/durable.h"
#include "base/error.h"

namespace rlcpp::data {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_of(const std::string& name, const std::vector<std::string>& splits,
                                  const std::string& key) {
  std::error_code ignored, error;
  const fs::file_type type = fs::status(name, error).type();
  if (type == fs::file_type::none || type == fs::file_type::unknown) {
    throw bad_input(fmt::format("{} = \"{}\" cannot be read", key, name), error.message(),
                    "give yourself the right to read it, or another path");
  }
  if (fs::is_regular_file(name, ignored)) return {name};
  if (!fs::is_directory(name, ignored)) {
    throw bad_input(fmt::format("{} = \"{}\" is neither a file nor a directory", key, name),
                    "data sets are read from disk",
                    "give a .jsonl file, or a directory with train.jsonl (download hub data sets first)");
  }
  std::vector<std::string> paths;
  for (const std::string& split : splits) {
    const std::string path = fmt::format("{}/{}.jsonl", name, split);
    if (!fs::is_regular_file(path, ignored)) {
      std::vector<std::string> found;
      for (const auto& entry : fs::directory_iterator(name)) {
        if (entry.path().extension() == ".jsonl") found.push_back(entry.path().stem().string());
      }
      throw bad_input(fmt::format("{} = \"{}\" has no split \"{}\"", key, name, split),
                      found.empty() ? "there is no .jsonl file in it"
                                    : fmt::format("there are: {}", fmt::join(found, ", ")),
                      fmt::format("write {}, or set the splits", path));
    }
    paths.push_back(path);
  }
  if (paths.empty())
    throw bad_input("data.splits is empty", {}, "name at least one split, such as \"train\"");
  return paths;
}

}  // namespace

Dataset Dataset::open(const std::string& name, const std::vector<std::string>& splits,
                      const std::string& key) {
  Dataset set;
  set.paths_ = files_of(name, splits, key);
  for (const std::string& path : set.paths_) {
    set.texts_.push_back(durable::read_file(path));
    const std::string& text = set.texts_.back();
    set.fingerprint_ = durable::crc32c(std::as_bytes(std::span(text)), set.fingerprint_);
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
      std::size_t end = text.find('\n', begin);
      if (end == std::string::npos) end = text.size();
      ++number;
      const std::string_view line(text.data() + begin, end - begin);
      if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
        set.lines_.push_back({set.texts_.size() - 1, begin, end - begin, number});
      }
      begin = end + 1;
    }
  }
  if (set.lines_.empty()) {
    throw bad_input(fmt::format("{} has no rows", fmt::join(set.paths_, ", ")), "every line is empty",
                    "write one JSON object a line");
  }
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
