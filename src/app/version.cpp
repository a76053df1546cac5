#include "app/version.h"

#include <fmt/format.h>

#include <thread>

#include "commit.h"
#include "tensor/device.h"

namespace rlcpp::app {

std::string version() {
  return RLCPP_VERSION;
}

std::string commit_text() {
  return RLCPP_COMMIT;
}

std::string commit_sha() {
  const std::string commit = RLCPP_COMMIT;
  const std::size_t mark = commit.find('+');
  return commit.substr(0, std::min<std::size_t>(8, mark)) +
         (mark == std::string::npos ? "" : commit.substr(mark));
}

std::string machine_line() {
  std::string gpus;
  std::string why;
  for (const GpuInfo& gpu : cuda::gpus(&why)) gpus += (gpus.empty() ? "" : ", ") + gpu.name;
  return fmt::format("{}, {} cores, {:.1f} GiB; {}", cpu_name(), std::thread::hardware_concurrency(),
                     static_cast<double>(host_memory_bytes()) / (1024.0 * 1024.0 * 1024.0),
                     gpus.empty() ? "no GPU" : gpus);
}

std::string device_label(Device device) {
  if (device.kind == DeviceKind::kCpu) return "CPU " + cpu_name();
  std::string why;
  for (const GpuInfo& gpu : cuda::gpus(&why)) {
    if (gpu.index == device.index) return gpu.name;
  }
  return why;
}

}  // namespace rlcpp::app
