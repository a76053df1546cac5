// Which build this is and on what it runs, for banners, records and pages.
#pragma once

#include <string>

#include "tensor/device.h"

namespace rlcpp::app {

std::string version();       // "0.1.0"
std::string commit_text();   // "a96d700ab+changes"
std::string commit_sha();    // "a96d700a", "a96d700a+changes": as the benchmark files want it
std::string machine_line();  // "AMD EPYC, 2 cores, 23.4 GiB; no GPU"
// The name under which results of this device are filed: the driver's name of the GPU, or "CPU <processor>".
std::string device_label(Device device);

}  // namespace rlcpp::app
