#include "app/run_disk.h"

#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "app/run_clock.h"
#include "base/durable.h"
#include "base/signals.h"
#include "monitor/console.h"

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

void require_disk_room(const std::string& directory, double bytes, const std::string& what, bool wait,
                       Logger& log) {
  std::error_code error;
  std::filesystem::path there = std::filesystem::absolute(directory, error);
  while (there.has_relative_path() && !std::filesystem::exists(there, error)) there = there.parent_path();
  const std::filesystem::space_info space = std::filesystem::space(there, error);
  if (error || space.capacity == 0) return;
  const auto free = static_cast<double>(space.available);
  if (free >= bytes) return;
  const std::string missing = fmt::format("{} in {}, which has {} free", what, directory, monitor::gib(free));
  if (wait) {
    log.warn(missing + ": the run will wait for room (ckpt.on_disk_full)");
    return;
  }
  throw environment_error("the checkpoints of this run do not fit on the disk", missing,
                          "free space on this file system, choose another --output-dir, save less often "
                          "(--ckpt.interval), or set "
                          "--ckpt.on-disk-full wait if somebody makes room while it runs");
}

WaitForRoom::WaitForRoom(Logger& log) : log_(log) {
  durable::when_full([this](const Error& error) { full(error); });
}

WaitForRoom::~WaitForRoom() {
  durable::when_full({});
}

void WaitForRoom::full(const Error& error) {
  {
    const std::lock_guard hold(lock_);
    if (const double now = monotonic_seconds(); now - said_ >= 60) {
      said_ = now;
      log_.warn(
          fmt::format("{}, {}: waiting for room, as ckpt.on_disk_full says", error.what(), error.because()));
    }
  }
  for (int i = 0; i < 10; ++i) {
    if (stop_signal() != 0) throw error;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace rlcpp::app
