#include "bench/json_files.h"

#include <algorithm>
#include <filesystem>

namespace rlcpp::bench {

std::vector<std::string> json_files(const std::string& directory, std::string_view beginning) {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(directory, missing)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(beginning) && entry.path().extension() == ".json")
      names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace rlcpp::bench
