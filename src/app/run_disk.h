// Room on the file system that checkpoints are written to.
#pragma once

#include <string>

#include "monitor/metrics.h"

namespace rlcpp::app {

// Adds system/ckpt_disk_{free,used,total}_gib and system/ckpt_disk_free_ratio; nothing if the system does not
// say. Free is what this user may write.
void add_disk_metrics(const std::string& directory, monitor::Metrics& metrics);

}  // namespace rlcpp::app
