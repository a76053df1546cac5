// What the processes of a run must have been given alike: all of the configuration but for what a process has
// of its own.
#pragma once

#include <string>
#include <string_view>

#include "dist/meeting.h"
#include "tensor/device.h"

namespace rlcpp::app {

// `configuration`: the resolved one, of config::to_json. Values that are too long for a line are told apart
// by a checksum.
dist::Terms terms_of(const std::string& command, const std::string& configuration, DeviceKind device);

// True of a key, or of the section it is in, that may differ from process to process (docs/distributed.md
// lists them): which one it is, its devices and memory, where it meets and how long it waits, and what only
// the first process does or what changes no result.
bool may_differ(std::string_view key);

}  // namespace rlcpp::app
