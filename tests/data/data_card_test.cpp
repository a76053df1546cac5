// What the cards of data sets say of files.
#include "data/data_card.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "data/card_yaml.h"
#include "data/data_files.h"
#include "data/dataset.h"
#include "support.h"

namespace rlcpp::data {
namespace {

using Names = std::vector<std::string>;

std::string header(const std::string& yaml) {
  return "---\nlicense: mit\n" + yaml + "tags:\n- a\n---\n# Text\nconfigs: no\n";
}

// "name*(folder)|split=pattern,pattern|..." of each subset; "*": the default.
std::string read(const std::string& yaml) {
  std::string text;
  for (const CardSubset& subset : read_data_card(header(yaml)).subsets) {
    text += (text.empty() ? "" : " ") + subset.name + (subset.is_default ? "*" : "");
    if (!subset.folder.empty()) text += "(" + subset.folder + ")";
    for (const CardSplit& split : subset.splits) {
      text += "|" + split.name + "=";
      for (const std::string& pattern : split.patterns) text += pattern + ",";
    }
  }
  return text;
}

TEST(DataCard, EveryWayToWriteFiles) {
  EXPECT_EQ(read("configs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n"
                 "  - split: test\n    path:\n    - \"a b.jsonl\"\n    - 'it''s.jsonl'\n"
                 "- config_name: soc   # comment\n  default: true\n  data_files: soc/**\n"),
            "main|train=main/train-*,|test=a b.jsonl,it's.jsonl, soc*|train=soc/**,");
  EXPECT_EQ(read("configs:\n  - config_name: x\n    data_files: [\"a.jsonl\", *.json]\n"),
            "x|train=a.jsonl,*.json,");
  EXPECT_EQ(read("configs:\n- data_dir: ./deep/\n-\n  config_name: y\n  data_files:\n    dev: d.jsonl\n    "
                 "test: [t.jsonl]\n"),
            "default(deep) y|dev=d.jsonl,|test=t.jsonl,");
  EXPECT_EQ(read("configs:\r\n- config_name: w\r\n  data_files: {split: f}\r\n"), "w|split=f,");
  EXPECT_EQ(read("configs: [{config_name: z, data_files: z.jsonl}]\n"), "z|train=z.jsonl,");
  EXPECT_EQ(read("dataset_info:\n- config_name: q\n  features: &a |\n   x\n"), "");
  EXPECT_TRUE(read_data_card("# no header\nconfigs:\n- config_name: x\n").subsets.empty());
  EXPECT_TRUE(read_data_card("---\nconfigs:\n- config_name: x\n").subsets.empty());  // without an end
  EXPECT_TRUE(read_data_card("").notes.empty());
}

TEST(DataCard, WhatIsNotUnderstoodIsPassedOverWithANote) {
  const auto note = [](const std::string& yaml) {
    const DataCard card = read_data_card(header(yaml));
    return card.notes.size() == 1 ? card.notes[0] : std::to_string(card.notes.size()) + " notes";
  };
  for (const char* value : {"&anchor x", "!!str x", "|", ">-", "\"open", "[a", "{a: b", "{a}", "\"\\x41\"",
                            "[a] b", "a\n    b"}) {
    EXPECT_NE(note("configs:\n- config_name: x\n  data_files: " + std::string(value) + "\n")
                  .find("\"configs\" (line "),
              std::string::npos)
        << value;
  }
  EXPECT_NE(note("configs:\n- config_name: x\n   data_files: y\n").find("line 5"), std::string::npos);
  EXPECT_NE(note("configs:\n- config_name: x\n  words\n").find("line 5"), std::string::npos);
  EXPECT_NE(note("configs: x\n").find("no list"), std::string::npos);
  EXPECT_NE(note("configs:\n- x\n").find("an entry"), std::string::npos);
  EXPECT_NE(note("configs:\n- config_name: x\n  data_files:\n  - [a]\n").find("subset \"x\""),
            std::string::npos);
  EXPECT_NE(note("configs: " + std::string(100000, '[') + "\n").find("too many"), std::string::npos);
  std::string dashes = "configs:\n- ";
  for (int i = 0; i < 20000; ++i) dashes += "- ";
  EXPECT_NE(note(dashes + "x\n").find("too many"), std::string::npos);
}

TEST(DataCard, ASubsetHasAName) {
  const DataCard card =
      read_data_card(header("configs:\n- config_name: \"\"\n  data_files: a.jsonl\n- config_name: b\n"));
  ASSERT_EQ(card.subsets.size(), 1U);
  EXPECT_EQ(card.subsets[0].name, "b");
  ASSERT_EQ(card.notes.size(), 1U);
  EXPECT_NE(card.notes[0].find("without a name"), std::string::npos) << card.notes[0];
}

TEST(DataCard, PatternsAreFsspecs) {
  EXPECT_TRUE(matches_pattern("data/train-0.parquet", "data/train-*"));
  EXPECT_TRUE(matches_pattern("data/train-0.parquet", "./data/train-?.parquet"));
  EXPECT_FALSE(matches_pattern("data/train-x/0.parquet", "data/train-*"));
  EXPECT_FALSE(matches_pattern("data/train-0.parquet", "train-*"));
  EXPECT_TRUE(matches_pattern("a/b/c.jsonl", "a/**"));
  EXPECT_TRUE(matches_pattern("c.jsonl", "**"));
  EXPECT_TRUE(matches_pattern("c.jsonl", "**/*.jsonl"));
  EXPECT_TRUE(matches_pattern("a/b/c.jsonl", "**/*.jsonl"));
  EXPECT_FALSE(matches_pattern("a/bc.jsonl", "**/c.jsonl"));
  EXPECT_TRUE(matches_pattern("a1", "a[0-3]"));
  EXPECT_FALSE(matches_pattern("a1", "a[!0-3]"));
  EXPECT_TRUE(matches_pattern("a[1", "a[1"));
  EXPECT_FALSE(matches_pattern("a/b", "a?b"));
  EXPECT_FALSE(matches_pattern(std::string(1000, 'a'), "*a*a*a*a*a*a*a*a*a*b"));  // and soon
}

const char* const kCard =
    "configs:\n- config_name: math\n  data_files:\n  - split: train\n    path: one/train-*\n  - split: val\n"
    "    path: one/v.jsonl\n- config_name: code\n  default: true\n  data_files: two/**\n"
    "- config_name: raw\n  data_dir: three\n";
const Names kNames = {"one/train-1.jsonl", "one/train-0.jsonl", "one/v.jsonl",     "two/x/y.jsonl",
                      "two/README.md",     "three/train.jsonl", "math/train.jsonl"};

TEST(DataCard, SaysWhichFilesASubsetIs) {
  const auto match = [](const std::string& yaml, const std::string& subset, const std::string& split) {
    try {
      return match_data_files(kNames, {subset, split}, "set", read_data_card(header(yaml)));
    } catch (const Error& error) {
      return Names{error.render()};
    }
  };
  EXPECT_EQ(match(kCard, "math", "train"), (Names{"one/train-0.jsonl", "one/train-1.jsonl"}));
  EXPECT_EQ(match(kCard, "math", "validation"), (Names{"one/v.jsonl"}));
  EXPECT_EQ(match(kCard, "", "train"), (Names{"two/x/y.jsonl"}));
  EXPECT_EQ(match(kCard, "raw", "train"), (Names{"three/train.jsonl"}));
  const auto refused = [&](const std::string& yaml, const std::string& subset, const std::string& split,
                           const std::string& part) {
    const std::string text = match(yaml, subset, split).front();
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  };
  refused(kCard, "math", "test", "its README.md names: train, val");
  refused("configs:\n- config_name: a\n- config_name: b\n", "", "train", "there are: a, b");
  refused("configs:\n- config_name: a\n  data_files: none*\n", "", "train", "README.md says they are: none*");
  refused("configs:\n- config_name: a\n  data_files: two/*\n", "", "train", "no file of its split");
  EXPECT_EQ(match("configs:\n- config_name: a\n- config_name: default\n  data_files: one/v*\n", "", "train"),
            (Names{"one/v.jsonl"}));
  EXPECT_EQ(match("configs:\n- config_name: a\n  data_files: one/v*\n", "", "train"), (Names{"one/v.jsonl"}));
}

TEST(DataCard, OfADirectory) {
  const test::TemporaryDirectory dir;
  std::filesystem::create_directories(dir / "two");
  std::ofstream(dir / "two/rows.jsonl") << "{\"prompt\": \"a\", \"completion\": \"1\"}\n";
  std::ofstream(dir / "train.jsonl") << "{\"prompt\": \"b\", \"completion\": \"2\"}\n";
  std::ofstream(dir / "README.md") << header(kCard);
  const Dataset set = Dataset::open(dir.path(), {"train"});
  ASSERT_EQ(set.size(), 1);
  EXPECT_EQ(set.row(0).messages[0]["content"], "a");
  std::ofstream(dir / "README.md") << header("configs: |\n");
  const FoundFiles found = find_files(dir.path(), {}, {"train"}, "data.name");
  EXPECT_EQ(found.parts, (std::vector<Names>{{dir / "train.jsonl"}}));
  EXPECT_EQ(found.notes.size(), 1U);
}

}  // namespace
}  // namespace rlcpp::data
