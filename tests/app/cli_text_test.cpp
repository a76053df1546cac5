#include "app/cli_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "app/version.h"
#include "base/error.h"

namespace rlcpp::test {
namespace {

TEST(CliText, OurErrorsKeepTheirCodeAndText) {
  const auto error = environment_error("port 80 is taken", "another process listens", "choose another");
  const app::Report report = app::report_error(error, {}, {"rlcpp", "serve"});
  EXPECT_EQ(report.exit_code, 3);
  EXPECT_EQ(report.text, error.render());
  LogOptions colour;
  colour.colour = true;
  EXPECT_EQ(app::report_error(error, colour, {}).text,
            "\x1b[1;31merror:\x1b[0m port 80 is taken\n  \x1b[2mbecause\x1b[0m another process listens\n"
            "  \x1b[36mhelp:\x1b[0m choose another\n");
}

TEST(CliText, UnexpectedErrorsSayVersionCommandAndReport) {
  const app::Report report =
      app::report_error(std::runtime_error("odd"), {}, {"rlcpp", "sft", "@", "my file.toml", "--x=it's"});
  EXPECT_EQ(report.exit_code, 1);
  EXPECT_NE(report.text.find("error: rlcpp failed unexpectedly: odd\n"), std::string::npos) << report.text;
  EXPECT_NE(report.text.find(app::version() + " (" + app::commit_text() + ")"), std::string::npos)
      << report.text;
  EXPECT_NE(report.text.find("rlcpp sft @ 'my file.toml' '--x=it'\\''s'"), std::string::npos) << report.text;
  EXPECT_NE(report.text.find("please report"), std::string::npos);
}

TEST(CliText, NoMemoryIsTheEnvironment) {
  const app::Report report = app::report_error(std::bad_alloc(), {}, {"rlcpp"});
  EXPECT_EQ(report.exit_code, 3);
  EXPECT_NE(report.text.find("error: out of memory\n"), std::string::npos);
}

TEST(CliText, JsonErrorsAreOneValidLine) {
  LogOptions json;
  json.format = LogFormat::kJson;
  const app::Report report = app::report_error(bad_input("a\nb\x1b[2J\xff \"q\"", "c", "d"), json, {});
  EXPECT_EQ(std::count(report.text.begin(), report.text.end(), '\n'), 1);
  const auto line = nlohmann::json::parse(report.text);
  EXPECT_EQ(line.at("message"), "a\nb\x1b[2J\\xff \"q\"");
  EXPECT_EQ(line.at("exit_code"), 2);
  EXPECT_EQ(line.at("time").get<std::string>().size(), 24U);
}

TEST(CliText, CommandsOfOtherTools) {
  app::Command sft;
  sft.name = "sft";
  app::Command bench;
  bench.name = "bench";
  const std::vector<app::Command> commands = {sft, bench};
  EXPECT_EQ(app::nearest_command("train", commands), "sft");
  EXPECT_EQ(app::nearest_command("benhc", commands), "bench");
  EXPECT_EQ(app::nearest_command("grpo", commands), "");  // no command rl here
  EXPECT_EQ(app::nearest_command("elephant", commands), "");
}

}  // namespace
}  // namespace rlcpp::test
