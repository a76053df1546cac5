// What a step keeps in host memory beside the planned regions.
#pragma once

#include <cstddef>
#include <string>

#include "tensor/device.h"

namespace rlcpp::app {

// Room for `bytes` beside `planned` bytes that are allocated on `device`. Throws environment_error, which
// says that `what` does not fit, with the numbers and `help`. `limit`: bytes that the process may take on
// `device`; 0: unknown. On an accelerator the host's free memory counts instead.
void require_host_room(const std::string& what, double bytes, std::size_t planned, std::size_t limit,
                       Device device, const std::string& help);

}  // namespace rlcpp::app
