// A configuration with one field of every kind, for the tests of base/config.
#pragma once

#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/config/load.h"
#include "base/error.h"
#include "support.h"

namespace rlcpp::test {

struct SampleOptim {
  double lr = 1e-6;
  std::optional<double> max_norm = 1.0;
  std::string type = "adamw";
  double weight_decay = 0.01;
  bool operator==(const SampleOptim&) const = default;
  void describe(config::Schema& s) {
    s.field("lr", lr, "Peak learning rate.").at_least(0).alias("step_size");
    s.field("max_norm", max_norm, "Clip the gradient to this norm; None: no clipping.").above(0);
    s.field("type", type, "The optimizer.").one_of({"adamw", "sgd", "muon"});
    s.field("weight_decay", weight_decay, "Weight decay.").at_least(0).at_most(1);
  }
};

struct SampleRecompute {
  int freq = 1;
  std::vector<std::string> targets = {"norm"};
  bool operator==(const SampleRecompute&) const = default;
  void describe(config::Schema& s) {
    s.field("freq", freq, "Every so many layers.").at_least(1).in("layers");
    s.field("targets", targets, "What is recomputed.").one_of({"norm", "mlp"});
  }
};

struct SampleModel {
  std::string name = "toy";
  std::optional<SampleRecompute> ac;
  std::optional<std::string> revision;
  bool operator==(const SampleModel&) const = default;
  void describe(config::Schema& s) {
    s.field("name", name, "Directory or name.");
    s.field("revision", revision, "Revision.");
    s.section("ac", ac, "Activation checkpointing.");
    s.refused("fp8", "FP8 training does not exist yet.");
  }
};

struct SampleCkpt {
  std::int64_t interval = 10;
  std::optional<bool> keep_all;
  std::optional<std::int64_t> keep_last = 3;
  bool operator==(const SampleCkpt&) const = default;
  void describe(config::Schema& s) {
    s.field("interval", interval, "Save every so many steps.").at_least(1).in("steps");
    s.field("keep_all", keep_all, "Keep all.");
    s.field("keep_last", keep_last, "Keep the last ones.").at_least(1);
  }
};

struct SampleSampling {
  float temperature = 1.0F;
  int max_tokens = 128;
  bool operator==(const SampleSampling&) const = default;
  void describe(config::Schema& s) {
    s.field("temperature", temperature, "Temperature.").at_least(0);
    s.field("max_tokens", max_tokens, "Longest completion.").at_least(1).in("tokens");
  }
};

struct SampleEnv {
  std::string id = "reverse-text";
  std::string args;
  std::optional<SampleSampling> sampling;
  bool operator==(const SampleEnv&) const = default;
  void describe(config::Schema& s) {
    s.field("id", id, "Which environment.");
    s.free_table("args", args, "Its own arguments.");
    s.section("sampling", sampling, "Sampling of this environment alone.");
  }
};

struct Sample {
  std::int64_t seed = 0;
  int seq_len = 128;
  bool shuffle = true;
  float ratio = 0.1F;
  std::vector<std::int64_t> sizes = {1, 2};
  std::vector<double> betas = {0.9, 0.999};
  std::vector<std::string> stop;
  std::string rollouts;
  std::string note;
  SampleOptim optim;
  SampleModel model;
  SampleSampling sampling;
  std::optional<SampleCkpt> ckpt;
  std::vector<SampleEnv> env;
  bool operator==(const Sample&) const = default;
  void describe(config::Schema& s) {
    s.field("seed", seed, "Seed of everything.");
    s.field("seq_len", seq_len, "Tokens in a row.").at_least(1).in("tokens");
    s.field("shuffle", shuffle, "Shuffle the data.");
    s.field("ratio", ratio, "A ratio.").at_least(0).at_most(1);
    s.field("sizes", sizes, "Sizes.").at_least(0);
    s.field("betas", betas, "Betas.");
    s.field("stop", stop, "Stop strings.");
    s.field("note", note, "Any text.");
    s.free_table("rollouts", rollouts, "Anything.");
    s.section("optim", optim, "The optimizer.");
    s.section("model", model, "The model.");
    s.section("sampling", sampling, "Sampling.");
    s.section("ckpt", ckpt, "Checkpoints.");
    s.list("env", env, "Environments.");
  }
};

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline config::Loaded load_into(Sample& sample, const std::vector<std::string>& arguments) {
  return config::load(config::describer(sample), arguments);
}

// The message of the bad_input that loading must end with.
inline std::string load_error(const std::vector<std::string>& arguments) {
  Sample sample;
  try {
    load_into(sample, arguments);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace rlcpp::test
