// What the rows of a matrix would take on a card that need not be here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/matrix.h"

namespace rlcpp::bench {

// The memory of one GPU, in GiB, as a dry run plans it.
struct RowPlan {
  std::string id;
  std::string zero;  // "1" to "3"; empty: one GPU, or adapters, whose base is whole everywhere
  double weights = 0, gradients = 0, optimizer = 0, activations = 0, other = 0;
  double planned = 0;
  std::string error;  // why there is no plan: the sentence of the command; empty if there is one
};

// Reads what `rlcpp sft|trainer --dry-run --json` wrote. Throws bad_input, naming the row, if it is not that.
RowPlan plan_from_json(const std::string& id, const std::string& text);

// A dry run of each row, a process each, with --memory-limit `limit` ("78.6GiB"). `program` is rlcpp,
// `logs` the directory for their outputs.
std::vector<RowPlan> plan_memory(const std::vector<PlannedRow>& rows, const std::string& program,
                                 const std::string& limit, const std::string& logs,
                                 const std::function<bool()>& keep_going);

// A Markdown table, a row each.
std::string plans_table(const std::vector<RowPlan>& plans);

}  // namespace rlcpp::bench
