// The keys of a command as JSON Schema (draft 2020-12), for editors that check TOML as it is written (taplo,
// Even Better TOML): types, choices, defaults and meanings; unknown keys are marked as errors.
#pragma once

#include <string>

#include "app/command.h"

namespace rlcpp::app {

// `command` has keys.
std::string json_schema(const Command& command);

}  // namespace rlcpp::app
