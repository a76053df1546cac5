#include "tensor/device.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/error.h"
#include "tensor/host_memory.h"

namespace rlcpp {
namespace {

// bf16 arithmetic begins with Ampere.
constexpr int kOldestMajor = 8;

std::string too_old(const GpuInfo& gpu) {
  return gpu.name + " has compute capability " + std::to_string(gpu.compute_major) + "." +
         std::to_string(gpu.compute_minor) + ", and 8.0 is the oldest with bf16";
}

bool is_index(std::string_view text) {
  return !text.empty() && text.size() <= 4 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 10, "model name") == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::size_t host_memory_bytes() {
  return read_host_memory().total;
}
std::size_t host_memory_available_bytes() {
  return read_host_memory().available;
}
std::size_t resident_bytes() {
  return proc_kilobytes("/proc/self/status", "VmRSS");
}

std::size_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

std::size_t peak_memory_bytes(Device device) {
  if (device.kind == DeviceKind::kCpu) return peak_resident_bytes();
  const cuda::Taken taken = cuda::memory_taken(device);
  return taken.now > taken.bare ? taken.now - taken.bare : 0;
}

std::size_t memory_total_bytes(Device device) {
  return device.kind == DeviceKind::kCpu ? host_memory_bytes() : cuda::memory_taken(device).total;
}

std::size_t library_reserve_bytes(Device device) {
  return device.kind == DeviceKind::kCpu ? 0 : std::size_t{64} << 20;
}

std::size_t memory_available_bytes(Device device) {
  if (device.kind == DeviceKind::kCpu) return host_memory_available_bytes();
  const std::size_t reserve = library_reserve_bytes(device);
  std::string why;
  for (const GpuInfo& gpu : cuda::gpus(&why)) {
    if (gpu.index == device.index) return gpu.free_bytes > reserve ? gpu.free_bytes - reserve : 0;
  }
  return 0;
}

DeviceChoice choose_device(const std::string& request) {
  if (request == "cpu") return {{DeviceKind::kCpu, 0}, "--device cpu"};
  if (request != "auto" && request != "cuda" &&
      !(request.starts_with("cuda:") && is_index(std::string_view(request).substr(5)))) {
    throw bad_input("unknown device \"" + request + "\"", "", "use auto, cpu, cuda or cuda:N");
  }
  std::string why;
  const std::vector<GpuInfo> gpus = cuda::gpus(&why);
  if (request == "auto") {
    if (gpus.empty()) return {{DeviceKind::kCpu, 0}, "no GPU: " + why};
    for (const GpuInfo& gpu : gpus) {
      if (gpu.compute_major >= kOldestMajor) return {{DeviceKind::kCuda, gpu.index}, gpu.name};
    }
    return {{DeviceKind::kCpu, 0}, too_old(gpus.front())};
  }
  if (gpus.empty()) throw environment_error("no GPU can be used", why, "run with --device cpu");
  const std::size_t index = request == "cuda" ? 0 : std::stoul(request.substr(5));
  if (index >= gpus.size()) {
    throw environment_error(
        "there is no device \"" + request + "\"", std::to_string(gpus.size()) + " GPUs can be used",
        "use an index from 0 to " + std::to_string(gpus.size() - 1) + ", or --device cpu");
  }
  if (gpus[index].compute_major < kOldestMajor) {
    throw environment_error("this GPU cannot be used", too_old(gpus[index]), "run with --device cpu");
  }
  return {{DeviceKind::kCuda, static_cast<int>(index)}, gpus[index].name};
}

DeviceChoice choose_planned_device(const std::string& request, bool* absent) {
  std::string why;
  *absent = request.starts_with("cuda") && cuda::gpus(&why).empty();
  if (!*absent) return choose_device(request);
  if (request != "cuda" && !(request.starts_with("cuda:") && is_index(std::string_view(request).substr(5)))) {
    return choose_device(request);  // which says what is wrong with it
  }
  return {{DeviceKind::kCuda, 0}, "planned for a GPU that is not here: " + why};
}

}  // namespace rlcpp
