// What the tables of the page share: figures and cells as the reference's page writes them.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

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

// Tables by title, in the order of their first rows.
template <class Row>
using TitledRows = std::vector<std::pair<std::string, std::vector<Row>>>;
template <class Row>
std::vector<Row>& rows_under(TitledRows<Row>& tables, const std::string& title) {
  auto table = std::find_if(tables.begin(), tables.end(), [&](const auto& t) { return t.first == title; });
  if (table == tables.end()) table = tables.insert(table, {title, {}});
  return table->second;
}

}  // namespace rlcpp::bench
