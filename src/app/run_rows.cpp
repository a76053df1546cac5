#include "app/run_rows.h"

#include <fmt/format.h>

#include "base/error.h"
#include "monitor/console.h"

namespace rlcpp::app {

void require_host_room(const std::string& what, double bytes, std::size_t planned, std::size_t limit,
                       Device device, const std::string& help) {
  const bool on_host = device.kind == DeviceKind::kCpu;
  const std::size_t room = on_host ? limit : host_memory_available_bytes();
  const double needed = bytes + (on_host ? static_cast<double>(planned) : 0);
  if (room == 0 || needed <= static_cast<double>(room)) return;
  throw environment_error(what,
                          fmt::format("up to {} of host memory{}, {} are available", monitor::gib(bytes),
                                      on_host ? fmt::format(" beside the {} of the plan",
                                                            monitor::gib(static_cast<double>(planned)))
                                              : "",
                                      monitor::gib(static_cast<double>(room))),
                          help);
}

}  // namespace rlcpp::app
