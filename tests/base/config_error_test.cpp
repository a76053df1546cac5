#include <gtest/gtest.h>

#include "config_sample.h"

namespace rlcpp::test {
namespace {

// Errors of one file with this text, with the directory's name taken out.
std::string file_error(const std::string& text) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", text);
  std::string error = load_error({"@", dir / "a.toml"});
  for (std::size_t at = 0; (at = error.find(dir.path() + "/")) != std::string::npos;)
    error.erase(at, dir.path().size() + 1);
  return error;
}

void expect_has(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in\n" << text;
}

TEST(ConfigError, UnknownKeyInAFile) {
  EXPECT_EQ(file_error("seed = 1\n[optim]\n  learning_rate = 1e-5\n"),
            "error: a.toml:3:3: optim.learning_rate is not a known key\n"
            "      3 |   learning_rate = 1e-5\n"
            "        |   ^\n"
            "  help: the key probably meant is optim.lr\n");
  expect_has(file_error("[optmi]\nlr = 1\n"),
             {"a.toml:1:2: optmi is not a known key", "the key probably meant is optim"});
  expect_has(file_error("[[env]]\n[[env]]\nid = \"x\"\nidd = \"x\"\n"),
             {"a.toml:4:1: env.1.idd", "meant is env.1.id"});
  expect_has(file_error("max-norm = 1\n"), {"a.toml:1:1", "meant is optim.max_norm"});
}

TEST(ConfigError, UnknownFlag) {
  EXPECT_EQ(load_error({"--lr", "3"}),
            "error: --lr: lr is not a known key\n  help: the key probably meant is --optim.lr\n");
  expect_has(load_error({"--model.ac.frq=3"}), {"--model.ac.frq", "meant is --model.ac.freq"});
  expect_has(load_error({"--optim.lr.x", "3"}), {"optim.lr is a value, not a section"});
  expect_has(load_error({"--model.fp_8"}),
             {"--model.fp8 is probably meant, and is not supported: FP8 training"});
  expect_has(load_error({"--zzzzzz"}), {"--zzzzzz", "--help lists all keys"});
  expect_has(load_error({"--no-shufle"}), {"no_shufle is not a known key"});
}

TEST(ConfigError, SeveralMistakesOfAFileAreShownTogether) {
  const std::string error =
      file_error("seq_len = 0\n[optim]\ntype = \"adam\"\nlr = \"1e-5\"\nwarp = 1\n[model]\nfp8 = true\n");
  expect_has(error, {"error: a.toml:1:11: seq_len must be an integer of at least 1\n", "  because it is 0\n",
                     "also a.toml:3:8: optim.type must be one of: adamw, sgd, muon, it is \"adam\"",
                     "also a.toml:4:6: optim.lr must be a number of at least 0, it is the string \"1e-5\"; "
                     "write the value without quotes",
                     "also a.toml:5:1: optim.warp is not a known key",
                     "also a.toml:7:1: model.fp8 is not supported, FP8 training does not exist yet."});
}

TEST(ConfigError, TypesAndRanges) {
  expect_has(file_error("seed = true\n"), {"a.toml:1:8: seed must be an integer", "it is true"});
  expect_has(file_error("seed = 1.5\n"), {"seed must be an integer", "the number 1.5"});
  expect_has(file_error("shuffle = 1\n"), {"shuffle must be true or false", "the integer 1"});
  expect_has(file_error("shuffle = \"true\"\n"), {"without quotes"});
  expect_has(file_error("note = 5\n"), {"note must be a string", "the integer 5"});
  expect_has(file_error("sizes = 5\n"), {"sizes must be a list of integers of at least 0", "the integer 5"});
  expect_has(file_error("sizes = [1, -1]\n"), {"of its element 1: it is -1"});
  expect_has(file_error("stop = [\"a\", 1]\n"), {"of its element 1: it is the integer 1"});
  expect_has(file_error("seq_len = 3000000000\n"), {"does not fit into 32 bits"});
  expect_has(file_error("ratio = 1.5\n"), {"ratio must be a number from 0 to 1", "it is 1.5"});
  expect_has(file_error("betas = [nan]\n"), {"it is nan"});
  expect_has(file_error("optim = 3\n"), {"a.toml:1:1: optim must be a table", "[optim]"});
  expect_has(file_error("ckpt = 3\n"), {"ckpt must be a table or \"None\"", "it is the integer 3"});
  expect_has(file_error("[env]\nid = \"x\"\n"), {"env must be a list of tables", "write [[env]]"});
  expect_has(file_error("rollouts = 3\n"), {"rollouts must be a table"});
  expect_has(file_error("[rollouts]\na = inf\n"), {"a.toml:2:5", "inf or nan"});
  expect_has(file_error("[optim]\nmax_norm = 0\n"),
             {"optim.max_norm must be a number above 0, or None", "it is 0"});
  expect_has(file_error("[optim]\nlr = 1\nstep_size = 2\n"),
             {"a.toml:3:1: optim.step_size is not a known key", "the key probably meant is optim.lr"});
  expect_has(file_error("[optim]\nlr = \"None\"\n"),
             {"optim.lr must be a number of at least 0\n", "the string \"None\""});
}

TEST(ConfigError, FlagValues) {
  expect_has(load_error({"--seed", "x"}), {"--seed: seed must be an integer", "the string \"x\""});
  expect_has(load_error({"--optim.lr", "-1"}),
             {"--optim.lr: optim.lr must be a number of at least 0", "it is -1"});
  expect_has(load_error({"--optim.type=adam"}), {"one of: adamw, sgd, muon", "it is \"adam\""});
  expect_has(load_error({"--model.ac.targets", "norm,attention"}),
             {"each one of: norm, mlp", "of its element 1", "attention"});
  expect_has(load_error({"--seed"}), {"--seed needs a value", "write --seed VALUE"});
  expect_has(load_error({"--seed", "--shuffle"}), {"--seed needs a value", "--seed=VALUE"});
  expect_has(load_error({"--optim", "3"}), {"--optim is a section, not a value"});
  expect_has(load_error({"--ckpt=3"}), {"--ckpt is a section", "--no-ckpt off"});
  expect_has(load_error({"--no-seed"}), {"--no-seed is not possible", "seed always has a value"});
  expect_has(load_error({"--no-optim"}), {"always there"});
  expect_has(load_error({"--no-shuffle=true"}), {"takes no value"});
  expect_has(load_error({"--env"}), {"--env is a list of tables", "--env.0.KEY VALUE"});
  expect_has(load_error({"--env.id", "x"}), {"env.0.id"});
  expect_has(load_error({"--env.3.id", "x"}),
             {"env has 0 elements, so the next one is env.0", "one after the other"});
  expect_has(load_error({"--model.fp8", "x"}),
             {"model.fp8 is not supported", "FP8 training does not exist yet."});
  expect_has(load_error({"--model.fp8.recipe", "x"}), {"model.fp8 is not supported"});
  expect_has(load_error({"--rollouts", "3"}), {"rollouts must be a table"});
  expect_has(load_error({"stray"}), {"unexpected argument \"stray\""});
  expect_has(load_error({"--shuffle", "yes"}), {"unexpected argument \"yes\""});
  expect_has(load_error({"a.toml"}), {"write @ before a file: @ a.toml"});
  expect_has(load_error({"@a.toml"}), {"write a space after @: @ a.toml"});
  expect_has(load_error({"--note", "a\xff"}), {"\"a\\xff\" is not valid UTF-8"});
}

TEST(ConfigError, Files) {
  TemporaryDirectory dir;
  expect_has(load_error({"@"}), {"@ needs the path of a TOML file"});
  expect_has(load_error({"@", "--seed", "1"}), {"@ needs the path of a TOML file"});
  expect_has(load_error({"@", dir / "none.toml"}),
             {"cannot read the configuration file " + (dir / "none.toml"), "No such file"});
  expect_has(load_error({"@", dir.path()}), {"it is a directory"});
  write_text(dir / "a.toml", "seed = 1\ntoml_files = [\"gone.toml\"]\n");
  expect_has(load_error({"@", dir / "a.toml"}), {(dir / "a.toml") + ":2:15: cannot read", dir / "gone.toml"});
  write_text(dir / "a.toml", "toml_files = \"b.toml\"\n");
  expect_has(load_error({"@", dir / "a.toml"}), {"a.toml:1:1: toml_files must be a list of paths"});
  write_text(dir / "a.toml", "toml_files = [1]\n");
  expect_has(load_error({"@", dir / "a.toml"}), {"a.toml:1:15: toml_files must be a list of paths"});
}

// The parser and what walks its tables recurse; a device need not end.
TEST(ConfigError, WhatIsEndless) {
  std::string key = "a";
  for (int i = 0; i < 50000; ++i) key += i % 2 == 0 ? ".a" : " . 'b'";
  expect_has(file_error("seed = 1\n" + key + " = 1\n"), {"a.toml:2: a key of too many parts"});
  expect_has(file_error("[" + key + "]\nb = 1\n"), {"a.toml:1: a key of too many parts"});
  expect_has(file_error("[[" + key + "]]\nb = 1\n"), {"a.toml:1: a key of too many parts"});
  expect_has(file_error("seed = {" + key + " = 1}\n"), {"a.toml:1: a key of too many parts"});
  std::string value = "1";
  for (int i = 0; i < 60; ++i) value = "{a.b.c.d.e.f = " + value + "}";
  expect_has(file_error("seed = " + value + "\n"), {"seed must be an integer"});
  for (int i = 0; i < 100; ++i) value = "{a = " + value + "}";
  expect_has(file_error("seed = " + value + "\n"), {"not valid TOML"});
  expect_has(load_error({"@", "/dev/zero"}), {"/dev/zero", "it has more than 16777216 bytes"});
}

TEST(ConfigError, DotsThatArePartOfNoKeyAreNotCounted) {
  std::string dots;
  for (int i = 0; i < 1000; ++i) dots += "a.";
  TemporaryDirectory dir;
  const std::string more = "\n[optim]\nlr = 1.5 # '" + dots + "\n";
  for (const std::string& note : {"\"" + dots + "\\\"" + dots + "\"", "\"\"\"x\n\" " + dots + "\n'\"\"\"",
                                  "'''x\\\n\" " + dots + "\n'''", "'" + dots + "\\'"}) {
    write_text(dir / "a.toml", "# \"" + dots + "\nnote = " + note + more);
    Sample sample;
    load_into(sample, {"@", dir / "a.toml"});
    EXPECT_NE(sample.note.find(dots), std::string::npos) << note.substr(0, 3);
    EXPECT_EQ(sample.optim.lr, 1.5);
  }
}

TEST(ConfigError, BrokenToml) {
  expect_has(file_error("seed = 1\n[optim\nlr = 1\n"), {"a.toml:2:", "not valid TOML", "    2 | [optim"});
  expect_has(file_error("seed = 1\nseed = 2\n"), {"a.toml:2:", "not valid TOML"});
  expect_has(file_error("note = \"\xff\"\n"), {"a.toml:1:", "not valid TOML"});
  expect_has(file_error("lr = 1e\n"), {"a.toml:1:"});
  // toml++ 3.3 ends the process on these unless its assertions are tamed.
  expect_has(file_error("seed = 1\n[=]\n"), {"a.toml:2:", "not valid TOML"});
  expect_has(file_error("[[@]]\n"), {"a.toml:1:", "not valid TOML"});
}

TEST(ConfigError, Mounts) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "toml_files = [\"b.toml\"]\nlr = 1\n");
  expect_has(load_error({"--optim", "@", dir / "a.toml"}),
             {"a.toml:1:1: optim.toml_files is not allowed here"});
  write_text(dir / "a.toml", "lrr = 1\n");
  expect_has(load_error({"--optim", "@", dir / "a.toml"}),
             {"a.toml:1:1: optim.lrr is not a known key", "meant is optim.lr"});
  expect_has(load_error({"--optm", "@", dir / "a.toml"}), {"--optm: optm is not a known key", "--optim"});
  expect_has(load_error({"--seed", "@", dir / "a.toml"}),
             {"a file cannot be put under seed", "seed is a value"});
  expect_has(load_error({"--env", "@", dir / "a.toml"}), {"a file cannot be put under env", "as in env.0"});
  expect_has(load_error({"--model.fp8", "@", dir / "a.toml"}), {"model.fp8 is not supported"});
}

TEST(ConfigError, HostileTextCannotDriveTheTerminal) {
  TemporaryDirectory dir;
  const std::string path = dir / "a\x1b[2J.toml";
  write_text(path, "\"k\\u001b[31m\" = 1\n");
  const std::string error = load_error({"@", path});
  EXPECT_EQ(error.find('\x1b'), std::string::npos) << error;
  expect_has(error, {"\\x1b[2J", "\\x1b[31m"});
}

}  // namespace
}  // namespace rlcpp::test
