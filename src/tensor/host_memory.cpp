#include "tensor/host_memory.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

namespace rlcpp {
namespace {

std::optional<std::size_t> number_of(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return std::nullopt;
  std::size_t value = 0;
  if (std::from_chars(text.data() + begin, text.data() + text.size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

// A file that holds one number; nothing if it is absent or says "max".
std::optional<std::size_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return number_of(line);
}

// The value of "name 123" in a file such as memory.stat; 0 if it is not there.
std::size_t named_in(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + " "))
      return number_of(std::string_view(line).substr(name.size())).value_or(0);
  }
  return 0;
}

// Lowers `memory` to the limit of one group. Inactive file pages go first when the group runs full, so they
// count as available, as in the working set of Kubernetes.
void apply(HostMemory& memory, const std::string& group, const char* limit_name, const char* usage_name,
           const char* cache_name) {
  const auto limit = number_in(group + "/" + limit_name);
  if (!limit) return;  // version 1 writes "no limit" as a number near 2^63, which changes nothing below
  memory.total = std::min(memory.total, *limit);
  const std::size_t used = number_in(group + "/" + usage_name).value_or(0);
  const std::size_t cache = std::min(used, named_in(group + "/memory.stat", cache_name));
  memory.available = std::min(memory.available, *limit - std::min(*limit, used - cache));
}

}  // namespace

std::size_t proc_kilobytes(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":"))
      return number_of(std::string_view(line).substr(name.size() + 1)).value_or(0) * 1024;
  }
  return 0;
}

HostMemory read_host_memory(const std::string& proc, const std::string& cgroups) {
  HostMemory memory{proc_kilobytes(proc + "/meminfo", "MemTotal"),
                    proc_kilobytes(proc + "/meminfo", "MemAvailable")};
  std::ifstream groups(proc + "/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "0::/a/b" (version 2) or "7:memory:/a/b" (version 1).
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    // A limit of any group above holds as well; inside a container the path may not exist, its root still
    // does.
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      while (path.ends_with('/')) path.pop_back();
      if (unified) {
        apply(memory, cgroups + path, "memory.max", "memory.current", "inactive_file");
      } else {
        apply(memory, cgroups + "/memory" + path, "memory.limit_in_bytes", "memory.usage_in_bytes",
              "total_inactive_file");
      }
      if (path.find('/') == std::string::npos) break;
    }
  }
  return memory;
}

}  // namespace rlcpp
