// How much memory this process may use. In a container /proc/meminfo still describes the whole machine; the
// kernel ends whoever trusts it, so limits of control groups count too.
#pragma once

#include <cstddef>
#include <string>

namespace rlcpp {

struct HostMemory {
  std::size_t total = 0;      // bytes; 0: unknown
  std::size_t available = 0;  // without swapping, caches that can be dropped included
};

// `proc` and `cgroups`: the mounted file systems; tests give others. Reads version 2 (memory.max of the
// process's group and all above it) and version 1 (memory.limit_in_bytes).
HostMemory read_host_memory(const std::string& proc = "/proc", const std::string& cgroups = "/sys/fs/cgroup");

// The value in kB of a line "Name:   123 kB" of a /proc file, in bytes; 0 if it is not there.
std::size_t proc_kilobytes(const std::string& path, const std::string& name);

}  // namespace rlcpp
