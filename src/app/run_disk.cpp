#include "app/run_disk.h"

#include <filesystem>
#include <system_error>

namespace rlcpp::app {

void add_disk_metrics(const std::string& directory, monitor::Metrics& metrics) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(directory, error);
  if (error || space.capacity == 0) return;
  const auto gib = [](std::uintmax_t bytes) { return static_cast<double>(bytes) / 0x1p30; };
  metrics.set("system/ckpt_disk_free_gib", gib(space.available));
  metrics.set("system/ckpt_disk_used_gib", gib(space.capacity - space.free));
  metrics.set("system/ckpt_disk_total_gib", gib(space.capacity));
  metrics.set("system/ckpt_disk_free_ratio",
              static_cast<double>(space.available) / static_cast<double>(space.capacity));
}

}  // namespace rlcpp::app
