#include "app/cli_options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace rlcpp::test {
namespace {

using app::ColourChoice;
using app::Surroundings;

TEST(CliOptions, SharedOptionsStandAnywhere) {
  const auto line = app::parse_command_line({"--quiet", "sft", "@", "a.toml", "--json", "--optim.lr", "1",
                                             "--log", "json", "--dry-run", "--color=always"},
                                            {});
  EXPECT_EQ(line.command, "sft");
  EXPECT_EQ(line.invocation.arguments, (std::vector<std::string>{"@", "a.toml", "--optim.lr", "1"}));
  EXPECT_EQ(line.invocation.log.level, LogLevel::kWarn);
  EXPECT_EQ(line.invocation.log.format, LogFormat::kJson);
  EXPECT_TRUE(line.invocation.log.colour);
  EXPECT_TRUE(line.invocation.colour_stdout);
  EXPECT_TRUE(line.invocation.json);
  EXPECT_TRUE(line.invocation.dry_run);
  EXPECT_FALSE(line.help);
}

TEST(CliOptions, LevelsAndNamesLikeSharedOnes) {
  EXPECT_EQ(app::parse_command_line({"sft", "-v"}, {}).invocation.log.level, LogLevel::kDebug);
  EXPECT_EQ(app::parse_command_line({"sft", "-v", "-v"}, {}).invocation.log.level, LogLevel::kTrace);
  EXPECT_EQ(app::parse_command_line({"-vv", "sft"}, {}).invocation.log.level, LogLevel::kTrace);
  EXPECT_EQ(app::parse_command_line({"sft"}, {}).invocation.log.level, LogLevel::kInfo);
  // Keys of a section "log" are no shared options.
  const auto line = app::parse_command_line({"sft", "--log.level", "debug", "--no-log.file"}, {});
  EXPECT_EQ(line.invocation.arguments, (std::vector<std::string>{"--log.level", "debug", "--no-log.file"}));
}

TEST(CliOptions, Mistakes) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"sft", "--log"},
                                                {"sft", "--log", "xml"},
                                                {"--color=red", "sft"},
                                                {"--qiet", "sft"},
                                                {"@", "a.toml"},
                                                {"a.toml"}}) {
    try {
      app::parse_command_line(words, {});
      ADD_FAILURE() << words[0];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_FALSE(error.help().empty()) << error.render();
    }
  }
}

TEST(CliOptions, Colour) {
  const auto colour = [](ColourChoice choice, const std::string& no_color, const std::string& force,
                         const std::string& term, bool terminal) {
    Surroundings around;
    around.no_color = no_color;
    around.force_color = force;
    around.term = term;
    return app::use_colour(choice, around, terminal);
  };
  EXPECT_TRUE(colour(ColourChoice::kAuto, "", "", "xterm", true));
  EXPECT_FALSE(colour(ColourChoice::kAuto, "", "", "xterm", false));
  EXPECT_FALSE(colour(ColourChoice::kAuto, "", "", "dumb", true));
  EXPECT_FALSE(colour(ColourChoice::kAuto, "1", "", "xterm", true));
  EXPECT_FALSE(colour(ColourChoice::kAuto, "1", "1", "xterm", true));
  EXPECT_TRUE(colour(ColourChoice::kAuto, "", "1", "dumb", false));
  EXPECT_FALSE(colour(ColourChoice::kAuto, "", "0", "xterm", false));
  EXPECT_TRUE(colour(ColourChoice::kAlways, "1", "0", "dumb", false));
  EXPECT_FALSE(colour(ColourChoice::kNever, "", "1", "xterm", true));
}

TEST(CliOptions, EachStreamForItself) {
  Surroundings around;
  around.stderr_terminal = true;
  const auto line = app::parse_command_line({"sft"}, around);
  EXPECT_TRUE(line.invocation.log.colour);
  EXPECT_FALSE(line.invocation.colour_stdout);
}

}  // namespace
}  // namespace rlcpp::test
