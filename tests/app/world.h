// A directory of its own, and ways to run the binary in it: without the network, which a test that has a hub
// of its own allows again.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "support.h"

namespace rlcpp::test {

inline std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline void expect_has(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in\n" << text;
}

inline const int kOffline = setenv("HF_HUB_OFFLINE", "1", 1);

struct ProcessOutcome {
  int code = -1;  // 128 + signal if it was killed
  std::string out, err;
};

class World {
 public:
  const TemporaryDirectory& dir() const { return dir_; }
  std::string operator/(const std::string& name) const { return dir_ / name; }

  // Writes a file of the world; returns its path.
  std::string file(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(dir_ / name).parent_path());
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }

  // `in`: a file that is stdin; empty: ours.
  pid_t start(const std::vector<std::string>& words, const std::string& out, const std::string& err,
              const std::string& in = "") const {
    std::vector<std::string> all = {RLCPP_BINARY};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& word : all) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t pid = fork();
    if (pid != 0) return pid;
    if (!in.empty()) dup2(open(in.c_str(), O_RDONLY), STDIN_FILENO);
    dup2(open(out.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDOUT_FILENO);
    dup2(open(err.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }

  static int wait_for(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  ProcessOutcome run(const std::vector<std::string>& words, const std::string& in = "") const {
    const int code = wait_for(start(words, dir_ / "stdout", dir_ / "stderr", in));
    return {code, slurp(dir_ / "stdout"), slurp(dir_ / "stderr")};
  }

  // Until a file of a running process has content, ten seconds at most.
  void wait_for_content(const std::string& name) const {
    for (int i = 0; i < 1000 && slurp(dir_ / name).empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  // Weights and moments of a step, as bytes.
  std::string state(const std::string& out, int step) const {
    const std::string at = dir_ / (out + "/checkpoints/step_" + std::to_string(step) + "/trainer/");
    std::string all;
    for (const char* name : {"weights.safetensors", "exp_avg.safetensors", "exp_avg_sq.safetensors"}) {
      const std::string part = slurp(at + name);
      EXPECT_FALSE(part.empty()) << at << name;
      all += part;
    }
    return all;
  }

  std::vector<nlohmann::json> metrics(const std::string& out) const { return lines(out + "/metrics.jsonl"); }
  std::vector<nlohmann::json> lines(const std::string& name) const {
    std::vector<nlohmann::json> all;
    std::ifstream file(dir_ / name);
    for (std::string line; std::getline(file, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }

  // Runs `words`, which write to <dir>/<out>: expects exit 2, one "error: " that has every part, and no run
  // directory touched.
  void expect_refused(const std::vector<std::string>& words, const std::string& out,
                      const std::vector<std::string>& parts) const {
    std::filesystem::remove_all(dir_ / out);
    const ProcessOutcome o = run(words);
    std::string command;
    for (const std::string& word : words) command += word + " ";
    SCOPED_TRACE(command);
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_NE(o.err.find("error: "), std::string::npos) << o.err;
    EXPECT_EQ(o.err.find("error: "), o.err.rfind("error: ")) << o.err;
    expect_has(o.err, parts);
    EXPECT_TRUE(o.out.empty()) << o.out;
    EXPECT_FALSE(std::filesystem::exists(dir_ / (out + "/metrics.jsonl")));
    EXPECT_FALSE(std::filesystem::exists(dir_ / (out + "/checkpoints")));
  }

 private:
  TemporaryDirectory dir_;
};

// A Qwen3 of one layer and seven thousand parameters.
inline constexpr const char* kTinyModel =
    R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 16,
      "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
      "vocab_size": 320, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true,
      "torch_dtype": "float32"})";

}  // namespace rlcpp::test
