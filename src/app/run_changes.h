// What differs between the configuration of a checkpoint and the one that continues it.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace rlcpp::app {

struct Change {
  std::string key;   // "optim.lr", "orchestrator.env.0.args.data"
  std::string text;  // "optim.lr = 0.2 (was 0.1)"
};
// `before` and `now` are JSON texts of config::to_json; by key. A text that is no object differs in nothing.
std::vector<Change> changes(const std::string& before, const std::string& now);

// The values of such a text by dotted key, as text. A section that is absent is one "None", an empty table or
// list is itself. A text that is no object has none.
std::map<std::string, std::string> values_by_key(const std::string& configuration);

}  // namespace rlcpp::app
