// What the tables of the page share: figures and cells as the reference's page writes them.
#pragma once

#include <string>

#include "bench/result.h"

namespace rlcpp::bench {

constexpr const char* kLoadMark = "†";
constexpr const char* kMemoryMark = "‡";

// Whether the machine was busy with something else when the row began: its load average of a minute before
// the first step exceeds its cores by half (rows run back to back leave up to all cores behind). Unknown
// where the file does not say how many cores there were.
bool under_load(const Result& r);

// "RL Full", with the marks of rows measured under load and of memory checks for another card.
std::string marked_type(const Result& r);

std::string thousands(double value);        // "16.12k"
std::string cell(const std::string& text);  // one that does not end its row
std::string gibibytes(double value);        // "25.0 GiB"; "–" for 0

}  // namespace rlcpp::bench
