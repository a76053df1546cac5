#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "config_sample.h"

namespace rlcpp::test {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(ConfigHelp, TextIsAlignedAndComplete) {
  Sample sample;
  const std::string text = config::help_text(config::describer(sample));
  for (const std::string& part :
       {std::string("  --optim.lr FLOAT "), std::string("Peak learning rate. [Default 1e-06; at least 0]"),
        std::string("[Default 128 tokens; at least 1]"), std::string("--[no-]shuffle"),
        std::string("[ckpt] (optional, off by default) Checkpoints."),
        std::string("[[env]] (list of tables, empty by default) Environments."),
        std::string("--env.0.id STRING"), std::string("--env.0.args.KEY VALUE"),
        std::string("one of: adamw, sgd, muon"), std::string("--stop A,B"),
        std::string("[Default 0.1; from 0 to 1]")}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in\n" << text;
  }
  EXPECT_EQ(text.find("fp8"), std::string::npos);
  // Explanations begin in one column, and nothing is wider than 100.
  std::set<std::size_t> columns;
  for (const std::string& line : lines_of(text)) {
    EXPECT_LE(line.size(), 100U) << line;
    if (!line.starts_with("  --")) continue;
    const std::size_t gap = line.find("  ", 4);
    if (gap != std::string::npos) columns.insert(line.find_first_not_of(' ', gap));
  }
  EXPECT_EQ(columns.size(), 1U) << text;
  EXPECT_EQ(sample, Sample());
}

TEST(ConfigHelp, EveryKeyIsListedEverywhere) {
  Sample sample;
  const std::string help = config::help_text(config::describer(sample));
  const std::string page = config::markdown(config::describer(sample));
  const std::vector<config::KeyInfo> infos = config::keys(config::describer(sample));
  EXPECT_GT(infos.size(), 25U);
  for (const config::KeyInfo& info : infos) {
    if (info.type == "section" || info.type == "list of tables") continue;
    EXPECT_NE(help.find(info.key), std::string::npos) << info.key;
    EXPECT_NE(page.find("| `" + info.key + "` |"), std::string::npos) << info.key;
    EXPECT_FALSE(info.doc.empty());
  }
  EXPECT_NE(page.find("`model.fp8`: FP8 training does not exist yet."), std::string::npos);
  EXPECT_NE(page.find("### `[[env]]`"), std::string::npos);
}

TEST(ConfigHelp, DefaultsAreThoseOfTheStruct) {
  Sample sample;
  sample.optim.lr = 0.5;
  sample.ckpt = SampleCkpt{};
  const auto infos = config::keys(config::describer(sample));
  const auto of = [&](const std::string& key) {
    return *std::find_if(infos.begin(), infos.end(),
                         [&](const config::KeyInfo& info) { return info.key == key; });
  };
  EXPECT_EQ(of("optim.lr").default_value, "0.5");
  EXPECT_EQ(of("optim.max_norm").default_value, "1.0");
  EXPECT_EQ(of("ckpt.keep_all").default_value, "\"None\"");
  EXPECT_EQ(of("ckpt").allowed, "optional, on by default");
  EXPECT_EQ(of("model.ac").default_value, "\"None\"");
  EXPECT_EQ(of("seq_len").unit, "tokens");
}

// A cell of a Markdown table must not end early or become HTML.
TEST(ConfigHelp, MarkdownIsEscaped) {
  struct Odd {
    std::string mark = "a|b";
    void describe(config::Schema& s) { s.field("mark", mark, "Text between <a> and | the end."); }
  };
  Odd odd;
  const std::string page = config::markdown([&](config::Schema& s) { odd.describe(s); });
  EXPECT_NE(page.find("\"a\\|b\""), std::string::npos) << page;
  EXPECT_NE(page.find("\\<a> and \\| the end."), std::string::npos) << page;
}

}  // namespace
}  // namespace rlcpp::test
