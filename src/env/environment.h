// An environment gives tasks and scores answers. A third one is one file here, one line in the registry and
// one test. Text from the policy is hostile: environments parse it, never evaluate it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace rlcpp::env {

struct Message {
  std::string role;
  std::string content;
};

struct Task {
  std::int64_t example_id = 0;
  std::vector<Message> prompt;
  std::string answer;
};

struct Score {
  double reward = 0;                    // finite
  std::map<std::string, double> parts;  // logged as metrics/<name>
};

class Environment {
 public:
  virtual ~Environment() = default;
  virtual const std::string& name() const = 0;
  virtual std::int64_t size() const = 0;                                           // number of tasks
  virtual Task task(std::int64_t index) const = 0;                                 // index < size()
  virtual Score score(const Task& task, const std::string& completion) const = 0;  // bounded in time
  // A completion of full reward: the sanity check of --dry-run scores it.
  virtual std::string perfect_completion(const Task& task) const = 0;
};

// Where the configuration says what: "id", "args", "args.<name>" -> "configs/a.toml:12" or "command line".
// Errors begin with it.
using Places = std::map<std::string, std::string>;

// `args_json` is env.args of the configuration; unknown arguments are refused with the known ones named.
std::unique_ptr<Environment> make_environment(const std::string& id, const std::string& name,
                                              const std::string& args_json, const Places& places = {});
std::vector<std::string> environment_ids();

}  // namespace rlcpp::env
