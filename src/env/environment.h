// An environment gives tasks, answers what the policy says, and scores it. Another one is one file here, one
// line in the registry and one test. Text from the policy is hostile: environments parse it, never evaluate
// it.
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

// What the policy said in a conversation, turn by turn.
using Responses = std::vector<std::string>;

struct Score {
  double reward = 0;                    // finite
  std::map<std::string, double> parts;  // logged as metrics/<name>
};

class Environment {
 public:
  virtual ~Environment() = default;
  virtual const std::string& name() const = 0;
  virtual std::int64_t size() const = 0;            // number of tasks
  virtual Task task(std::int64_t index) const = 0;  // index < size()
  // Where people find the task: "prompts.jsonl:12" if it is of a file. Without one it is numbered from 0.
  virtual std::string place(std::int64_t index) const {
    return "task " + std::to_string(index) + " of environment '" + name() + "'";
  }
  virtual Score score(const Task& task, const Responses& responses) const = 0;  // bounded in time
  Score score(const Task& task, const std::string& only) const { return score(task, Responses{only}); }
  // Responses of full reward: the sanity check of --dry-run scores them.
  virtual Responses perfect_responses(const Task& task) const = 0;

  // Environments of several turns. There is no state between two calls: what is said next is a function of
  // the task and of all responses so far, so a conversation can be played again.
  virtual std::int64_t max_turns() const { return 1; }  // responses at most
  // Messages (user or tool) that answer the last of 1 <= responses < max_turns(); none: it is over, and score
  // gets what there is. A conversation can also end earlier, for want of room: score then gets fewer
  // responses than the environment asked for.
  virtual std::vector<Message> reply(const Task& /*task*/, const Responses& /*responses*/) const {
    return {};
  }
  // The roles of all that reply() may give.
  virtual std::vector<std::string> reply_roles() const { return {}; }
};

// Where the configuration says what: "id", "args", "args.<name>" -> "configs/a.toml:12" or "command line".
// Errors begin with it.
using Places = std::map<std::string, std::string>;

// `args_json` is env.args of the configuration; unknown arguments are refused with the known ones named.
std::unique_ptr<Environment> make_environment(const std::string& id, const std::string& name,
                                              const std::string& args_json, const Places& places = {});
std::vector<std::string> environment_ids();

}  // namespace rlcpp::env
