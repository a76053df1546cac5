// What goes over the side channel: the kinds of frames, and the texts in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "dist/roll.h"

namespace rlcpp::dist {

// Raised when frames or their structures change: processes of two versions refuse each other.
inline constexpr int kProtocol = 2;

enum Kind : std::uint32_t { kHello = 1, kWelcome, kRefused, kEntry, kMarks, kRows, kFault, kBye };

inline std::string text_of(std::span<const std::byte> payload) {
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

inline std::string dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// A fault as a frame's text, and back; a text that is none: nullopt.
std::string text_of(const Fault& fault);
std::optional<Fault> fault_in(std::span<const std::byte> payload);

}  // namespace rlcpp::dist
