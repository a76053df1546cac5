// Room on the file system that checkpoints are written to.
#pragma once

#include <string>

#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "monitor/metrics.h"

namespace rlcpp::app {

// Adds system/ckpt_disk_{free,used,total}_gib and system/ckpt_disk_free_ratio; nothing if the system does not
// say. Free is what this user may write.
void add_disk_metrics(const std::string& directory, monitor::Metrics& metrics);

// Throws environment_error if `directory`, or what it will be made in, has less than `bytes` free; with
// `wait` only says so. `what` are they: "two checkpoints need 3 GiB".
void require_disk_room(const std::string& directory, double bytes, const std::string& what, bool wait,
                       Logger& log);

// While it lives, a full disk is waited for (durable::when_full): said at once and every minute, tried each
// second. A signal ends the waiting with the error of the disk.
class WaitForRoom {
 public:
  explicit WaitForRoom(Logger& log);
  ~WaitForRoom();
  WaitForRoom(const WaitForRoom&) = delete;
  WaitForRoom& operator=(const WaitForRoom&) = delete;

 private:
  void full(const Error& error);
  Logger& log_;
  std::mutex lock_;
  double said_ = -1e9;
};

}  // namespace rlcpp::app
