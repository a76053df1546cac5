// Runs of the binary with faults below its file layer (shim.cc), and what a run must have left at its end.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/world.h"
#include "base/durable.h"
#include "base/error.h"

namespace rlcpp::test {

using Words = std::vector<std::string>;

// What the shim is told; empty parts are not set.
struct Faults {
  std::string root, what = {}, log = {}, clock = {}, read = {};
};

// The environment of what is started while it lives.
class WithFaults {
 public:
  explicit WithFaults(const Faults& faults) {
    set("RLCPP_SHIM_ROOT", faults.root);
    set("RLCPP_SHIM_FAULT", faults.what);
    set("RLCPP_SHIM_LOG", faults.log);
    set("RLCPP_SHIM_CLOCK", faults.clock);
    set("RLCPP_SHIM_READ", faults.read);
    set("LD_PRELOAD", RLCPP_SHIM);
  }
  ~WithFaults() {
    for (const char* name : names_) unsetenv(name);
  }
  WithFaults(const WithFaults&) = delete;
  WithFaults& operator=(const WithFaults&) = delete;

 private:
  void set(const char* name, const std::string& value) {
    if (value.empty()) return;
    setenv(name, value.c_str(), 1);
    names_.push_back(name);
  }
  std::vector<const char*> names_;
};

// Why the shim cannot work here; empty: it can.
inline std::string no_shim() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "a sanitizer wants to be loaded first";
#else
  return "";
#endif
}

// The exit code, 128 + signal, or -1 if it had not ended after `seconds` and was killed.
inline int wait_for(pid_t pid, double seconds = 120) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (std::chrono::steady_clock::now() > limit) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

inline ProcessOutcome run_with(const World& world, const Faults& faults, const Words& words) {
  pid_t pid = 0;
  {
    const WithFaults with(faults);
    pid = world.start(words, world / "stdout", world / "stderr");
  }
  const int code = wait_for(pid);
  return {code, slurp(world / "stdout"), slurp(world / "stderr")};
}

// Calls that a run makes below <world>/<out>, as the shim lists them.
inline std::vector<std::string> calls_of(const World& world, const std::string& out, const Words& words) {
  const std::string log = world / (out + ".calls");
  const ProcessOutcome o = run_with(world, {world / out, "", log}, words);
  EXPECT_EQ(o.code, 0) << o.err;
  std::vector<std::string> calls;
  std::istringstream text(slurp(log));
  for (std::string line; std::getline(text, line);) calls.push_back(line);
  return calls;
}

inline bool has_checkpoint(const World& world, const std::string& out) {
  return durable::newest_step(world / (out + "/checkpoints"), nullptr).has_value();
}

// How to go on with what a run left: from the newest checkpoint, or from the start if there is none.
inline Words again(const World& world, const std::string& out) {
  return has_checkpoint(world, out) ? Words{"--ckpt.resume-step", "-1"} : Words{"--clean"};
}

inline Words with_more(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Files below a directory by name, without those that name the run.
inline std::map<std::string, std::string> contents(const std::string& path) {
  namespace fs = std::filesystem;
  std::map<std::string, std::string> out;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(path, ignored)) {
    const std::string name = fs::relative(entry.path(), path).string();
    if (entry.is_regular_file() && entry.path().filename() != durable::kManifestName && name != "STABLE")
      out[name] = slurp(entry.path().string());
  }
  return out;
}

// The state of a checkpoint without the id of the run that wrote it.
inline std::string without_run(const std::string& text) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("extra")) return text;
  for (auto& [producer, state] : json["extra"].items()) {
    if (state.is_object()) state.erase("run");
  }
  return json.dump();
}

// Lines of metrics.jsonl without what a clock or the process decides.
inline std::vector<nlohmann::json> lasting(const World& world, const std::string& out) {
  std::vector<nlohmann::json> all;
  for (const nlohmann::json& line : world.metrics(out)) {
    nlohmann::json kept;
    for (const auto& [key, value] : line.items()) {
      const bool clock = key.starts_with("time") || key.starts_with("generation_ms/") ||
                         key.starts_with("scoring_ms/") || key.starts_with("system/") ||
                         key.starts_with("perf/");
      if (!clock) kept[key] = value;
    }
    all.push_back(std::move(kept));
  }
  return all;
}

// Everything that a run leaves at `step` and on the way there is that of another: weights, moments, counters,
// cursors, buffers, exported weights, metrics; every kept step verifies, and nothing half written lies about.
inline void expect_same_end(const World& world, const std::string& got, const std::string& expected,
                            int step) {
  namespace fs = std::filesystem;
  for (const char* part : {"checkpoints", "weights"}) {
    const std::string place = fmt::format("/{}/step_{}", part, step);
    const auto a = contents(world / (got + place)), b = contents(world / (expected + place));
    EXPECT_FALSE(part == std::string("checkpoints") && b.empty()) << expected << place;
    EXPECT_EQ(a.size(), b.size()) << got << place;
    for (const auto& [name, bytes] : b) {
      const bool same = a.contains(name) &&
                        (a.at(name) == bytes ||
                         (name.ends_with("state.json") && without_run(a.at(name)) == without_run(bytes)));
      EXPECT_TRUE(same) << got << place << "/" << name << " differs";
    }
    std::vector<std::string> skipped;
    if (fs::exists(world / (got + "/" + part)))
      durable::committed_steps(world / (got + "/" + part), &skipped);
    EXPECT_TRUE(skipped.empty()) << skipped.front();
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(world / (got + "/" + part), ignored)) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name.find(".tmp-") == std::string::npos && name.find(".trash-") == std::string::npos)
          << name;
    }
  }
  EXPECT_EQ(slurp(world / (got + "/checkpoints/latest")), fmt::format("step_{}\n", step));
  EXPECT_EQ(lasting(world, got), lasting(world, expected));
  const auto a = contents(world / (got + "/rollouts")), b = contents(world / (expected + "/rollouts"));
  for (const auto& [name, bytes] : b) EXPECT_TRUE(a.contains(name) && a.at(name) == bytes) << name;
}

// What lies in a run's checkpoints is whole: nothing of a fault was taken for a step.
inline void expect_whole_steps(const World& world, const std::string& out) {
  std::vector<std::string> skipped;
  durable::committed_steps(world / (out + "/checkpoints"), &skipped);
  for (const std::string& reason : skipped)
    EXPECT_NE(reason.find("not a committed name"), std::string::npos) << reason;
}

}  // namespace rlcpp::test
