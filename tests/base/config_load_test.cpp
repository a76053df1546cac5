#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config_sample.h"
#include "data_path.h"

namespace rlcpp::test {
namespace {

TEST(ConfigLoad, NothingGivesTheDefaults) {
  Sample sample;
  const config::Loaded loaded = load_into(sample, {});
  EXPECT_EQ(sample, Sample());
  EXPECT_TRUE(loaded.origins.empty());
}

TEST(ConfigLoad, LaterFilesWinAndFlagsWinOverAll) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "seq_len = 1\nseed = 5\n[optim]\nlr = 1\nweight_decay = 0.5\n");
  write_text(dir / "b.toml", "seq_len = 2\n[optim]\nlr = 2\n");
  Sample sample;
  const config::Loaded loaded =
      load_into(sample, {"--seq_len", "3", "@", dir / "a.toml", "@", dir / "b.toml", "--optim.type", "sgd"});
  EXPECT_EQ(sample.seq_len, 3);
  EXPECT_EQ(sample.seed, 5);
  EXPECT_EQ(sample.optim.lr, 2.0);
  EXPECT_EQ(sample.optim.weight_decay, 0.5);
  EXPECT_EQ(loaded.origins.at("seq_len"), "command line");
  EXPECT_EQ(loaded.origins.at("seed"), (dir / "a.toml") + ":2");
  EXPECT_EQ(loaded.origins.at("optim.lr"), (dir / "b.toml") + ":3");
  EXPECT_EQ(loaded.origins.count("shuffle"), 0U);
}

TEST(ConfigLoad, KebabAndSnakeAndEqualsSign) {
  for (const std::string flag : {"--optim.max-norm", "--optim.max_norm"}) {
    Sample sample;
    load_into(sample, {flag, "0.25"});
    EXPECT_EQ(sample.optim.max_norm, 0.25);
    load_into(sample, {flag + "=0.5"});
    EXPECT_EQ(sample.optim.max_norm, 0.5);
  }
  Sample sample;
  load_into(sample, {"--note=a=b --c", "--model.name", "-x"});
  EXPECT_EQ(sample.note, "a=b --c");
  EXPECT_EQ(sample.model.name, "-x");
}

TEST(ConfigLoad, Switches) {
  Sample sample;
  load_into(sample, {"--no-shuffle"});
  EXPECT_FALSE(sample.shuffle);
  load_into(sample, {"--shuffle", "--seed", "1"});
  EXPECT_TRUE(sample.shuffle);
  load_into(sample, {"--shuffle", "false"});
  EXPECT_FALSE(sample.shuffle);
  load_into(sample, {"--shuffle=true"});
  EXPECT_TRUE(sample.shuffle);
  load_into(sample, {"--ckpt.keep-all"});
  EXPECT_EQ(sample.ckpt.value().keep_all, true);
  load_into(sample, {"--ckpt.no-keep-all"});
  EXPECT_EQ(sample.ckpt.value().keep_all, false);
  load_into(sample, {"--ckpt.keep-all", "None"});
  EXPECT_FALSE(sample.ckpt.value().keep_all.has_value());
}

TEST(ConfigLoad, NoneAndNegation) {
  Sample sample;
  load_into(sample, {"--optim.max_norm", "None", "--model.revision", "abc"});
  EXPECT_FALSE(sample.optim.max_norm.has_value());
  EXPECT_EQ(sample.model.revision, "abc");
  load_into(sample, {"--no-model.revision", "--optim.max_norm", "2"});
  EXPECT_FALSE(sample.model.revision.has_value());
  load_into(sample, {"--no-optim.max-norm"});
  EXPECT_FALSE(sample.optim.max_norm.has_value());
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "[optim]\nmax_norm = \"None\"\n");
  Sample other;
  load_into(other, {"@", dir / "a.toml"});
  EXPECT_FALSE(other.optim.max_norm.has_value());
  // A string that always has a value may be the word itself.
  load_into(other, {"--note", "None"});
  EXPECT_EQ(other.note, "None");
}

TEST(ConfigLoad, OptionalSections) {
  Sample sample;
  load_into(sample, {"--ckpt", "--model.ac"});
  EXPECT_EQ(sample.ckpt, SampleCkpt());
  EXPECT_EQ(sample.model.ac, SampleRecompute());
  load_into(sample, {"--no-ckpt", "--model.ac", "None"});
  EXPECT_FALSE(sample.ckpt.has_value());
  EXPECT_FALSE(sample.model.ac.has_value());
  const config::Loaded loaded = load_into(sample, {"--ckpt.interval", "7", "--model.ac=true"});
  EXPECT_EQ(sample.ckpt.value().interval, 7);
  EXPECT_TRUE(sample.model.ac.has_value());
  EXPECT_EQ(loaded.origins.at("model.ac"), "command line");

  TemporaryDirectory dir;
  write_text(dir / "on.toml", "[ckpt]\ninterval = 4\n[model.ac]\n");
  write_text(dir / "off.toml", "ckpt = \"None\"\n");
  Sample other;
  load_into(other, {"@", dir / "on.toml"});
  EXPECT_EQ(other.ckpt.value().interval, 4);
  EXPECT_TRUE(other.model.ac.has_value());
  load_into(other, {"@", dir / "off.toml"});
  EXPECT_FALSE(other.ckpt.has_value());
  // On again after off: the defaults, not what was there before.
  load_into(other, {"@", dir / "on.toml", "@", dir / "off.toml", "--ckpt"});
  EXPECT_EQ(other.ckpt, SampleCkpt());
  // Already on: the bare flag keeps what a file said.
  load_into(other, {"@", dir / "on.toml", "--ckpt"});
  EXPECT_EQ(other.ckpt.value().interval, 4);
}

TEST(ConfigLoad, NegationWithinAnAbsentSectionChangesNothing) {
  Sample sample;
  load_into(sample, {"--no-model.ac", "--no-ckpt"});
  EXPECT_EQ(sample, Sample());
}

TEST(ConfigLoad, Numbers) {
  Sample sample;
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "seq_len = 4e3\nbetas = [1, 0.5]\n[optim]\nlr = 1\n");
  load_into(sample, {"@", dir / "a.toml", "--seed", "1_000_000", "--ckpt.interval", "1e3"});
  EXPECT_EQ(sample.seq_len, 4000);
  EXPECT_EQ(sample.betas, (std::vector<double>{1.0, 0.5}));
  EXPECT_EQ(sample.optim.lr, 1.0);
  EXPECT_EQ(sample.seed, 1000000);
  EXPECT_EQ(sample.ckpt.value().interval, 1000);
  load_into(sample, {"--seed", "-9223372036854775808", "--betas", "-1,2e-3", "--optim.max-norm", "inf"});
  EXPECT_EQ(sample.seed, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(sample.betas, (std::vector<double>{-1.0, 2e-3}));
  EXPECT_EQ(sample.optim.max_norm, std::numeric_limits<double>::infinity());
}

TEST(ConfigLoad, Lists) {
  Sample sample;
  for (const std::string text : {"3,4", "[3,4]", "[3, 4]", " 3 , 4 "}) {
    sample.sizes.clear();
    load_into(sample, {"--sizes", text});
    EXPECT_EQ(sample.sizes, (std::vector<std::int64_t>{3, 4})) << text;
  }
  load_into(sample, {"--stop", "[\"a,b\", 'c d', e]"});
  EXPECT_EQ(sample.stop, (std::vector<std::string>{"a,b", "c d", "e"}));
  load_into(sample, {"--stop", "<end>"});
  EXPECT_EQ(sample.stop, (std::vector<std::string>{"<end>"}));
  load_into(sample, {"--stop", "[]", "--sizes="});
  EXPECT_TRUE(sample.stop.empty());
  EXPECT_TRUE(sample.sizes.empty());
}

TEST(ConfigLoad, ListsOfTables) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml",
             "[[env]]\nid = \"one\"\n[env.args]\nn = 1\ndeep = { x = [1, 2.5, true], y = \"None\" }\n"
             "[[env]]\n[env.sampling]\ntemperature = 0.5\n");
  write_text(dir / "b.toml", "[[env]]\nid = \"only\"\n");
  Sample sample;
  const config::Loaded loaded =
      load_into(sample, {"@", dir / "a.toml", "--env.0.args.n", "2", "--env.1.id", "two", "--env.2.id",
                         "three", "--env.0.args.deep.z", "text", "--env.0.sampling"});
  ASSERT_EQ(sample.env.size(), 3U);
  EXPECT_EQ(sample.env[0].id, "one");
  EXPECT_EQ(sample.env[0].args, R"({"deep":{"x":[1,2.5,true],"y":null,"z":"text"},"n":2})");
  EXPECT_TRUE(sample.env[0].sampling.has_value());
  EXPECT_EQ(sample.env[1].id, "two");
  EXPECT_EQ(sample.env[1].sampling.value().temperature, 0.5F);
  EXPECT_EQ(sample.env[2].id, "three");
  EXPECT_EQ(loaded.origins.at("env.1.sampling.temperature"), (dir / "a.toml") + ":8");
  // A list in a later file replaces, with fresh elements.
  load_into(sample, {"@", dir / "b.toml"});
  ASSERT_EQ(sample.env.size(), 1U);
  EXPECT_EQ(sample.env[0], (SampleEnv{"only", "", {}}));
}

TEST(ConfigLoad, FreeTablesMergeKeyByKey) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "[rollouts]\na = 1\nb = { c = 2, d = 3 }\nwhen = 2026-01-31\n");
  write_text(dir / "b.toml", "[rollouts.b]\nc = 4\n");
  Sample sample;
  load_into(sample, {"@", dir / "a.toml", "@", dir / "b.toml", "--rollouts.some-key", "5", "--rollouts.e",
                     "[1, \"x\"]", "--rollouts.f", "None"});
  EXPECT_EQ(sample.rollouts,
            R"({"a":1,"b":{"c":4,"d":3},"e":[1,"x"],"f":null,"some_key":5,"when":"2026-01-31"})");
  load_into(sample, {"--rollouts", R"({"a": {"n": 1}})"});
  EXPECT_NE(sample.rollouts.find(R"("a":{"n":1})"), std::string::npos);
}

// Every form of TOML, against Python's tomllib (tools/make_base_config_golden.py).
TEST(ConfigLoad, ReadsTomlAsAnotherParserDoes) {
  const std::string folder = test::data_path("base/");
  Sample sample;
  load_into(sample, {"--rollouts", "@", folder + "free_table.toml"});
  std::ifstream golden(folder + "free_table.json");
  ASSERT_TRUE(golden.is_open());
  EXPECT_EQ(nlohmann::json::parse(sample.rollouts), nlohmann::json::parse(golden));
  // And once more through our own writer.
  TemporaryDirectory dir;
  write_text(dir / "resolved.toml", config::to_toml(config::describer(sample)));
  Sample back;
  load_into(back, {"@", dir / "resolved.toml"});
  EXPECT_EQ(nlohmann::json::parse(back.rollouts), nlohmann::json::parse(sample.rollouts));
}

TEST(ConfigLoad, Inheritance) {
  TemporaryDirectory dir;
  std::filesystem::create_directories(dir / "sub");
  write_text(dir / "base.toml", "seed = 1\nseq_len = 1\n[optim]\nlr = 1\n");
  write_text(dir / "other.toml", "seed = 2\n");
  write_text(dir / "sub/mid.toml", "toml_files = [\"../base.toml\", \"../other.toml\"]\n[optim]\nlr = 2\n");
  write_text(dir / "top.toml", "seq_len = 9\ntoml_files = [\"sub/mid.toml\"]\n");
  Sample sample;
  const config::Loaded loaded = load_into(sample, {"@", dir / "top.toml"});
  EXPECT_EQ(sample.seed, 2);
  EXPECT_EQ(sample.seq_len, 9);
  EXPECT_EQ(sample.optim.lr, 2.0);
  EXPECT_EQ(loaded.origins.at("seed"), (dir / "other.toml") + ":1");
}

TEST(ConfigLoad, TheSameParentTwiceIsNoCircle) {
  TemporaryDirectory dir;
  write_text(dir / "base.toml", "seed = 1\n");
  write_text(dir / "l.toml", "toml_files = [\"base.toml\"]\n");
  write_text(dir / "r.toml", "toml_files = [\"base.toml\"]\n");
  write_text(dir / "top.toml", "toml_files = [\"l.toml\", \"r.toml\"]\n");
  Sample sample;
  load_into(sample, {"@", dir / "top.toml"});
  EXPECT_EQ(sample.seed, 1);
}

TEST(ConfigLoad, CirclesAreRefused) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "toml_files = [\"b.toml\"]\n");
  write_text(dir / "b.toml", "seed = 1\ntoml_files = [\"./a.toml\"]\n");
  const std::string error = load_error({"@", dir / "a.toml"});
  EXPECT_NE(error.find((dir / "b.toml") + ":2:15: toml_files go round in a circle"), std::string::npos)
      << error;
  write_text(dir / "self.toml", "toml_files = [\"self.toml\"]\n");
  EXPECT_NE(load_error({"@", dir / "self.toml"}).find("circle"), std::string::npos);
}

TEST(ConfigLoad, MountsUnderAKey) {
  TemporaryDirectory dir;
  write_text(dir / "optim.toml", "lr = 3\ntype = \"muon\"\n");
  write_text(dir / "ac.toml", "freq = 2\n");
  write_text(dir / "args.toml", "k = 1\n");
  write_text(dir / "all.toml", "[optim]\nlr = 4\n");
  Sample sample;
  const config::Loaded loaded =
      load_into(sample, {"--optim", "@", dir / "optim.toml", "--model.ac", "@", dir / "ac.toml",
                         "--env.0.args", "@", dir / "args.toml", "@", dir / "all.toml"});
  EXPECT_EQ(sample.optim.lr, 4.0);  // the later file
  EXPECT_EQ(sample.optim.type, "muon");
  EXPECT_EQ(sample.model.ac.value().freq, 2);
  EXPECT_EQ(sample.env.at(0).args, R"({"k":1})");
  EXPECT_EQ(loaded.origins.at("optim.type"), (dir / "optim.toml") + ":2");
}

TEST(ConfigLoad, NamesOfElsewhereAreRefusedWithOurs) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "[optim]\nstep_size = 3\n");
  const std::string file = load_error({"@", dir / "a.toml"});
  EXPECT_NE(file.find("a.toml:2:1: optim.step_size is not a known key"), std::string::npos) << file;
  EXPECT_NE(file.find("help: the key probably meant is optim.lr\n"), std::string::npos) << file;
  const std::string flag = load_error({"--optim.step-size", "4"});
  EXPECT_NE(flag.find("--optim.step-size: optim.step_size is not a known key"), std::string::npos) << flag;
  EXPECT_NE(flag.find("help: the key probably meant is --optim.lr\n"), std::string::npos) << flag;
}

TEST(ConfigLoad, WhatIsInAFreeTableHasItsPlaceToo) {
  TemporaryDirectory dir;
  write_text(dir / "a.toml", "[[env]]\n[env.args]\nk = 1\n  m = { n = 2 }\n");
  Sample sample;
  const config::Loaded loaded = load_into(sample, {"@", dir / "a.toml", "--env.0.args.j.i", "3"});
  EXPECT_EQ(sample.env.at(0).args, R"({"j":{"i":3},"k":1,"m":{"n":2}})");
  EXPECT_EQ(loaded.origins.at("env.0.args.k"), (dir / "a.toml") + ":3");
  EXPECT_EQ(loaded.origins.at("env.0.args.m"), (dir / "a.toml") + ":4");
  EXPECT_EQ(loaded.origins.at("env.0.args.j"), "command line");
  EXPECT_EQ(loaded.origins.at("env.0.args"), "command line");
}

TEST(ConfigLoad, EmptyFileAndWindowsLineEnds) {
  TemporaryDirectory dir;
  write_text(dir / "empty.toml", "");
  write_text(dir / "dos.toml", "seed = 3\r\n[optim]\r\nlr = 2\r\n");
  Sample sample;
  load_into(sample, {"@", dir / "empty.toml", "@", dir / "dos.toml"});
  EXPECT_EQ(sample.seed, 3);
  EXPECT_EQ(sample.optim.lr, 2.0);
}

}  // namespace
}  // namespace rlcpp::test
