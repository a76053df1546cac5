// A tiny world for `rlcpp sft`: data, tokenizer and model directory, made once; and ways to run the binary in
// it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace rlcpp::test {

inline std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct ProcessOutcome {
  int code = -1;  // 128 + signal if it was killed
  std::string out, err;
};

class SftWorld {
 public:
  SftWorld() {
    std::ofstream train(dir_ / "train.jsonl"), val(dir_ / "validation.jsonl");
    for (int i = 0; i < 120; ++i) {
      (i < 100 ? train : val) << "{\"prompt\": \"say " << i % 10 << "\", \"completion\": \""
                              << std::string(1 + i % 7, 'a' + i % 10) << "\"}\n";
    }
    train.close();
    val.close();
    std::filesystem::create_directories(dir_ / "model");
    std::ofstream(dir_ / "model/config.json")
        << R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 16,
      "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
      "vocab_size": 320, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true,
      "torch_dtype": "float32"})";
    const auto made = run({"tokenize", "train", "--data", dir_ / "train.jsonl", "--vocab-size", "300",
                           "--out", dir_ / "tokenizer"});
    EXPECT_EQ(made.code, 0) << made.err;
  }

  const TemporaryDirectory& dir() const { return dir_; }
  std::string operator/(const std::string& name) const { return dir_ / name; }

  // `rlcpp sft` on this world, 6 steps into <dir>/<out>; later arguments win over these.
  std::vector<std::string> sft(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"sft",
                                      "--model.name",
                                      dir_ / "model",
                                      "--tokenizer.name",
                                      dir_ / "tokenizer",
                                      "--data.name",
                                      dir_.path(),
                                      "--data.batch-size",
                                      "4",
                                      "--data.seq-len",
                                      "64",
                                      "--optim.lr",
                                      "1e-2",
                                      "--threads",
                                      "1",
                                      "--output-dir",
                                      dir_ / out};
    bool steps = false;
    for (const std::string& word : more) {
      // A key given twice is the user's mistake, so a later one takes the place of an earlier one here.
      const auto at = word.starts_with("--") ? std::find(words.begin(), words.end(), word) : words.end();
      if (at != words.end()) words.erase(at, at + 2);
      steps = steps || word == "--max-steps";
    }
    if (!steps) words.insert(words.end(), {"--max-steps", "6"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  pid_t start(const std::vector<std::string>& words, const std::string& out, const std::string& err) const {
    std::vector<std::string> all = {RLCPP_BINARY};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> argv;
    for (std::string& word : all) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t pid = fork();
    if (pid != 0) return pid;
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

  ProcessOutcome run(const std::vector<std::string>& words) const {
    const int code = wait_for(start(words, dir_ / "stdout", dir_ / "stderr"));
    return {code, slurp(dir_ / "stdout"), slurp(dir_ / "stderr")};
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

 private:
  TemporaryDirectory dir_;
};

}  // namespace rlcpp::test
