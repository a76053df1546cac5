// What config.json and generation_config.json have in common.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

namespace rlcpp::model {

// The ids of an eos_token_id entry, one or a list; nullopt if it holds anything else.
std::optional<std::vector<std::int64_t>> token_ids_of(const nlohmann::json& value);

}  // namespace rlcpp::model
