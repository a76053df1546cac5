#include "app/run_terms.h"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

#include "app/run_changes.h"
#include "app/version.h"
#include "base/durable.h"

namespace rlcpp::app {
namespace {

constexpr std::size_t kLongest = 200, kShown = 60;

// How many ranks there are and on which kind of device is compared apart from these.
constexpr std::array<std::string_view, 20> kOwn = {"dist.process",
                                                   "dist.processes",
                                                   "dist.ranks",
                                                   "dist.devices",
                                                   "dist.address",
                                                   "dist.run_id",
                                                   "dist.timeout",
                                                   "dist.start_timeout",
                                                   "dist.idle_timeout",
                                                   "device",
                                                   "memory_limit",
                                                   "threads",
                                                   "fail",
                                                   "log",
                                                   "wandb",
                                                   "heartbeat",
                                                   "metrics_server",
                                                   "trace_path",
                                                   "memory_profiler_path",
                                                   "data.dump"};

std::string shortened(const std::string& value) {
  if (value.size() <= kLongest) return value;
  return fmt::format("{}... ({} bytes, CRC {:08x})", value.substr(0, kShown), value.size(),
                     durable::crc32c(std::as_bytes(std::span(value))));
}

}  // namespace

bool may_differ(std::string_view key) {
  return std::any_of(kOwn.begin(), kOwn.end(), [&](std::string_view own) {
    return key == own || (key.starts_with(own) && key[own.size()] == '.');
  });
}

dist::Terms terms_of(const std::string& command, const std::string& configuration, DeviceKind device) {
  dist::Terms out = {{"the command", command},
                     {"rlcpp", fmt::format("{} ({})", version(), commit_text())},
                     {"device", device == DeviceKind::kCuda ? "cuda" : "cpu"}};
  for (const auto& [key, value] : values_by_key(configuration)) {
    if (!may_differ(key)) out.push_back({key, shortened(value)});
  }
  return out;
}

}  // namespace rlcpp::app
