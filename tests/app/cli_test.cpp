// The binary as a user meets it: what is on stdout, what on stderr, and the exit code.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support.h"

namespace rlcpp::test {
namespace {

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct Outcome {
  int code = -1;  // 128 + signal if it was killed
  std::string out;
  std::string err;
};

// Runs `rlcpp WORDS` through the shell, so that tests can redirect; `before` goes in front of the program.
Outcome run(const std::string& words, const std::string& before = "") {
  TemporaryDirectory dir;
  const std::string line = "unset NO_COLOR FORCE_COLOR; { " + before + " '" RLCPP_BINARY "' " + words +
                           "; } >'" + (dir / "out") + "' 2>'" + (dir / "err") + "' </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), content(dir / "out"),
          content(dir / "err")};
}

void expect_has(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in\n" << text;
}

TEST(Cli, AloneItSaysWhatItIs) {
  const Outcome o = run("");
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(o.err.empty()) << o.err;
  expect_has(o.out, {"rlcpp trains language models", "  sft ", "  bench ", "For example:\n  rlcpp "});
  EXPECT_LT(std::count(o.out.begin(), o.out.end(), '\n'), 24);
}

TEST(Cli, HelpIsComplete) {
  const Outcome main = run("--help");
  EXPECT_EQ(main.code, 0);
  expect_has(main.out,
             {"Usage", "Commands", "--color auto|always|never", "--dry-run", "Exit codes", " 75  ", "143  "});
  EXPECT_EQ(run("help").out, main.out);
  EXPECT_EQ(run("-h").out, main.out);
  const Outcome config = run("config --help");
  expect_has(config.out, {"rlcpp config: ", "Examples\n  rlcpp config ", "Usage", "--out STRING",
                          "[Default docs/configuration.md]", "Exit codes"});
  EXPECT_EQ(run("help config").out, config.out);
  EXPECT_LT(config.out.find("Examples"), config.out.find("Usage"));
}

// Every command that is listed has two examples, a usage line and options, whatever it is.
TEST(Cli, EveryCommandHasHelp) {
  const std::string overview = run("--help").out;
  std::istringstream lines(overview.substr(overview.find("\nCommands\n") + 10));
  int commands = 0;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    ASSERT_TRUE(line.starts_with("  ")) << line;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    const Outcome help = run(name + " --help");
    EXPECT_EQ(help.code, 0) << name;
    const std::size_t begin = help.out.find("Examples\n") + 9;
    const std::string examples = help.out.substr(begin, help.out.find("\nUsage") - begin);
    EXPECT_GE(std::count(examples.begin(), examples.end(), '\n'), 2) << help.out;
    expect_has(help.out, {"\nUsage\n  rlcpp " + name, "\nOptions\n"});
    ++commands;
  }
  EXPECT_GE(commands, 5);
}

TEST(Cli, Version) {
  const Outcome text = run("--version");
  EXPECT_EQ(text.code, 0);
  expect_has(text.out, {"rlcpp ", "(commit ", "compiler", "cpu ", "cuda ", "nlohmann-json 3.", "fmt ",
                        "toml++ ", "pcre2 ", "utf8proc "});
  const auto json = nlohmann::json::parse(run("--version --json").out);
  EXPECT_FALSE(json.at("commit").get<std::string>().empty());
  EXPECT_TRUE(json.at("libraries").contains("pcre2"));
}

TEST(Cli, UnknownCommand) {
  const Outcome o = run("confgi");
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(o.out.empty());
  EXPECT_EQ(o.err,
            "error: there is no command \"confgi\"\n  help: the command probably meant is rlcpp config\n");
  EXPECT_EQ(run("qqqqqq").code, 2);
  EXPECT_EQ(run("--jsno config").code, 2);
}

TEST(Cli, ErrorsHaveColourOnlyWhereItIsWanted) {
  EXPECT_EQ(run("qqq").err.find('\x1b'), std::string::npos);
  EXPECT_NE(run("qqq --color always").err.find("\x1b[1;31merror:\x1b[0m"), std::string::npos);
  EXPECT_NE(run("qqq", "FORCE_COLOR=1").err.find('\x1b'), std::string::npos);
  EXPECT_EQ(run("qqq", "FORCE_COLOR=1 NO_COLOR=1").err.find('\x1b'), std::string::npos);
}

TEST(Cli, ErrorsAsJson) {
  const Outcome o = run("config docs --typo 1 --log json");
  EXPECT_EQ(o.code, 2);
  const auto line = nlohmann::json::parse(o.err);
  EXPECT_EQ(line.at("level"), "error");
  EXPECT_EQ(line.at("exit_code"), 2);
  expect_has(line.at("message").get<std::string>(), {"--typo"});
}

TEST(Cli, TextFromTheUserCannotDriveTheTerminal) {
  const Outcome o = run("\"$(printf 'a\\033[2Jb\\377')\"");
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err.find('\x1b'), std::string::npos);
  expect_has(o.err, {"a\\x1b[2Jb\\xff"});
}

TEST(Cli, AClosedPipeIsNoCrash) {
  TemporaryDirectory dir;
  // The reader leaves at once; the writer has more than a pipe holds to say, or finds the pipe closed at its
  // end.
  for (const std::string command : {"config docs --dry-run", "--help", "nonsense"}) {
    const std::string line = "bash -c \"{ sleep 0.1; '" RLCPP_BINARY "' " + command + " 2>" + (dir / "err") +
                             "; echo \\$? >" + (dir / "code") + "; } | true\"";
    ASSERT_EQ(std::system(line.c_str()), 0);
    EXPECT_EQ(content(dir / "code"), command == "nonsense" ? "2\n" : "0\n") << content(dir / "err");
  }
}

TEST(Cli, AFullDiskIsNotSilent) {
  const Outcome o = run("--help >/dev/full");
  EXPECT_EQ(o.code, 3);
  expect_has(o.err, {"could not be written to stdout", "No space left"});
}

TEST(Cli, ConfigDocs) {
  TemporaryDirectory dir;
  const std::string file = dir / "c.md";
  EXPECT_EQ(run("config docs --check --out " + file).code, 4);
  EXPECT_EQ(run("config docs --out " + file).code, 0);
  EXPECT_EQ(run("config docs --out " + file + " --check").code, 0);
  expect_has(content(file), {"# Configuration", "toml_files", "## Exit codes", "## `rlcpp "});
  EXPECT_EQ(run("config docs --dry-run").out, content(file));
  std::ofstream(file, std::ios::app) << "edited\n";
  const Outcome stale = run("config docs --check --out " + file);
  EXPECT_EQ(stale.code, 4);
  expect_has(stale.err, {"c.md is out of date", "run rlcpp config docs --out"});
}

// The committed page is the generated one.
TEST(Cli, TheCommittedPageIsUpToDate) {
  const Outcome o = run("config docs --check --out '" RLCPP_SOURCE "/docs/configuration.md'");
  EXPECT_EQ(o.code, 0) << o.err;
}

TEST(Cli, ConfigKeysMistakes) {
  EXPECT_EQ(run("config").code, 2);
  EXPECT_EQ(run("config keys").code, 2);
  EXPECT_EQ(run("config keys nothing").code, 2);
  EXPECT_EQ(run("config show").code, 2);
}

TEST(Cli, CurvesCompareEndsThatDoNotOverlap) {
  const TemporaryDirectory dir;
  std::ofstream metrics(dir / "metrics.jsonl");
  for (int i = 0; i < 10; ++i) {
    metrics << "{\"step\":" << i << ",\"reward/mean\":" << i;
    if (i < 9) metrics << ",\"val_reward/mean\":" << i;
    metrics << "}\n";
  }
  metrics.close();
  const std::string words = "curves --runs '" + dir.path() + "' --keys reward/mean,val_reward/mean";
  const Outcome o = run(words);
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"mean of", "2.0000", "7.0000", "+5.0000", "0.0000", "8.0000", "+8.0000"});
  const auto json = nlohmann::json::parse(run(words + " --json").out);
  EXPECT_EQ(json[0]["first"], 2);
  EXPECT_EQ(json[0]["mean_of"], 5);
  EXPECT_EQ(json[1]["last"], 8);
  EXPECT_EQ(json[1]["mean_of"], 1);
}

TEST(Cli, CurvesNameTheLineThatIsWrong) {
  const TemporaryDirectory dir;
  const auto said = [&](const std::string& line, const std::string& more = "") {
    std::ofstream(dir / "metrics.jsonl") << "{\"step\":1,\"loss/mean\":2}\n" << line << "\n{\"step\":3}\n";
    const Outcome o = run("curves --runs '" + dir.path() + "' --keys loss/mean" + more);
    EXPECT_EQ(o.err.find("json.exception"), std::string::npos) << o.err;
    return std::to_string(o.code) + o.err;
  };
  expect_has(said("{\"loss/mean\":2}"), {"2error: ", "metrics.jsonl:2 has no number of a step"});
  expect_has(said("{\"step\":\"two\",\"loss/mean\":2}"), {"2error: ", "metrics.jsonl:2"});
  expect_has(said("[\"loss/mean\"]"), {"0"});
  expect_has(said("", " --out '" + (dir / "none/c.svg") + "'"),
             {"3error: cannot write ", "none/c.svg", "there is no directory"});
  expect_has(said("", " --out '" + dir.path() + "'"), {"2error: cannot write ", "it is a directory"});
}

TEST(Cli, CurvesOfSeveralRunsShareAPanel) {
  const TemporaryDirectory dir;
  for (const char* name : {"first", "second"}) {
    std::filesystem::create_directories(dir / name);
    std::ofstream(dir / (std::string(name) + "/metrics.jsonl"))
        << "{\"step\":1,\"loss/mean\":2}\n{\"step\":2,\"loss/mean\":1}\n";
  }
  const std::string words =
      "curves --runs '" + (dir / "first") + "','" + (dir / "second") + "' --keys loss/mean";
  const auto panels = [&](const std::string& option) {
    const Outcome o = run(words + option + " --out '" + (dir / "c.svg") + "'");
    EXPECT_EQ(o.code, 0) << o.err;
    const std::string text = content(dir / "c.svg");
    expect_has(text, {"first", "second"});
    std::size_t count = 0;  // the label below each panel
    for (std::size_t at = 0; (at = text.find(">step<", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(panels(""), 2U);
  EXPECT_EQ(panels(" --together"), 1U);
}

// A result file as `rlcpp bench` writes it.
void write_result(const std::string& directory, const std::string& type, const std::string& device,
                  double rate) {
  std::filesystem::create_directories(directory);
  const nlohmann::json result = {
      {"config",
       {{"type", type},
        {"num_gpus", 1},
        {"model_name", "m"},
        {"seq_len", 64},
        {"device_name", device},
        {"commit_sha", "abcdef12"},
        {"timestamp", "2026-11-23T00:00:00Z"},
        {"success", true}}},
      {"metrics",
       {{"mfu", {{"mean", rate}, {"std", 0}, {"min", rate}, {"max", rate}}},
        {"throughput", {{"mean", rate}, {"std", 0}, {"min", rate}, {"max", rate}}},
        {"step_time", {{"mean", 1 / rate}, {"std", 0}, {"min", 1 / rate}, {"max", 1 / rate}}},
        {"peak_memory", {{"gib", 1}, {"pct", 1}}}}},
      {"rlcpp", {{"schema", 1}}}};
  std::ofstream(directory + "/benchmark-" + type + "-" + device + ".json") << result.dump();
}

TEST(Cli, ReportChecksWhatIsMissingToo) {
  const TemporaryDirectory dir;
  const std::string report = "report --peers '' --figures '' --history '" + (dir / "history.jsonl") +
                             "' --results '" + (dir / "results") + "' --baselines '";
  const std::string words = report.substr(0, 6) + " --check" + report.substr(6);
  EXPECT_EQ(run(words + (dir / "baselines") + "'").code, 2);  // no results yet
  write_result(dir / "results", "rl", "A", 100);
  const Outcome absent = run(words + (dir / "baselines") + "'");
  EXPECT_EQ(absent.code, 2);
  expect_has(absent.err, {"there is no directory", "baselines"});
  write_result(dir / "baselines", "rl", "A", 100);
  write_result(dir / "baselines", "sft", "B", 100);  // another machine's row is not missed
  const Outcome unwritten = run(words + (dir / "baselines") + "'");
  EXPECT_EQ(unwritten.code, 1);
  expect_has(unwritten.out, {"BENCHMARKS.md is not there", "history.svg is not there"});
  EXPECT_EQ(run(report + (dir / "baselines") + "'").code, 0);
  EXPECT_EQ(run(words + (dir / "baselines") + "'").code, 0);
  write_result(dir / "baselines", "sft", "A", 100);
  const Outcome missing = run(words + (dir / "baselines") + "'");
  EXPECT_EQ(missing.code, 4);
  expect_has(missing.out, {"missing: m SFT Full 1xA 64", "0 regressions", "1 missing"});
  EXPECT_EQ(run(words + (dir / "baselines") + "' --partial").code, 0);
  write_result(dir / "results", "rl", "A", 90);
  const Outcome json = run(words + (dir / "baselines") + "' --json");
  EXPECT_EQ(json.code, 4);
  const auto found = nlohmann::json::parse(json.out);
  EXPECT_EQ(found["rows"], 1);
  EXPECT_EQ(found["with_baseline"], 1);
  EXPECT_EQ(found["regressions"].size(), 3U);
  EXPECT_EQ(found["missing"].size(), 1U);
  const Outcome page = run(report + (dir / "baselines") + "' --json");
  ASSERT_EQ(page.code, 0) << page.err;
  EXPECT_TRUE(std::filesystem::exists(nlohmann::json::parse(page.out)["page"].get<std::string>()));
}

TEST(Cli, ReportChecksThatWhatIsWrittenIsWhatTheResultsSay) {
  const TemporaryDirectory dir;
  const auto file = [&](const std::string& name, const std::string& text) {
    std::ofstream(dir / name) << text;
  };
  write_result(dir / "results", "rl", "A", 2345);
  write_result(dir / "results", "sft", "A", 1234);
  write_result(dir / "baselines", "rl", "A", 2345);
  write_result(dir / "baselines", "sft", "A", 1200);  // a difference that the page shows
  std::filesystem::create_directories(dir / "peers");
  const std::string figures =
      "[[figure]]\nfile = \"" + (dir / "readme.md") + "\"\ntext = \"trains {}k tokens/s\"\nscale = 1000\n";
  file("figures.toml", figures + "type = \"SFT Full\"\n");
  file("readme.md", "It trains\n1.23k tokens/s, or so.\n");
  const std::string words = " --peers '" + (dir / "peers") + "' --figures '" + (dir / "figures.toml") +
                            "' --history '" + (dir / "history.jsonl") + "' --results '" + (dir / "results") +
                            "' --baselines '" + (dir / "baselines") + "'";
  const auto check = [&](int code, const std::vector<std::string>& parts) {
    const Outcome o = run("report --check" + words);
    EXPECT_EQ(o.code, code) << o.out << o.err;
    expect_has(o.out, parts);
  };
  ASSERT_EQ(run("report" + words).code, 0);
  const std::string page = content(dir / "results/BENCHMARKS.md"), plot = content(dir / "history.svg"),
                    history = content(dir / "history.jsonl");
  expect_has(page, {"1.23k (+2.8%)"});
  check(0, {"0 regressions"});
  EXPECT_EQ(content(dir / "results/BENCHMARKS.md"), page) << "a check writes nothing";

  // A figure of the page, of its difference, a name, and a row that is gone.
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"2.35k", "2.53k"}, {"+2.8%", "+8.2%"}, {"1xA", "1xB"}}) {
    std::string other = page;
    const auto at = other.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    file("results/BENCHMARKS.md", other.replace(at, from.size(), to));
    check(1, {"wrong: ", "BENCHMARKS.md:", "where the results say"});
  }
  const auto row = page.find("| RL Full |");
  file("results/BENCHMARKS.md", page.substr(0, row) + page.substr(page.find('\n', row) + 1));
  check(1, {"| RL Full | 1xA | 64 |", "is missing"});
  file("results/BENCHMARKS.md", page + "| SFT Full | 1xA | 65 | None | rlcpp | 1% | 1.00 | 1s | 1 GiB |\n");
  check(1, {"is not what the results say"});
  file("results/BENCHMARKS.md", page);

  // The history, its plot, and a document.
  file("history.svg", plot + " ");
  check(1, {"wrong: history: the plot is not the one of the history"});
  file("history.svg", plot);
  file("history.jsonl", history.substr(history.find('\n') + 1));
  check(1, {"wrong: history: m|1xA|", "is missing"});
  file("history.jsonl", history);
  file("readme.md", "It trains 1.24k tokens/s.\n");
  check(1, {"readme.md:1: 1.24 in \"trains {}k tokens/s\", where the results say 1.23"});
  file("readme.md", "It trains 1k tokens/s.\n");
  check(0, {});
  file("readme.md", "It trains.\n");
  check(1, {"does not stand there"});
  file("figures.toml", figures);  // two rows fit
  EXPECT_EQ(run("report --check" + words).code, 2);

  // A figure of a file that is no row.
  const std::string named = figures + "json = \"" + (dir / "rollouts.json") + "\"\npointer = ";
  file("rollouts.json", R"({"loads": [{"rate": 18206.4, "name": "nano"}]})");
  file("readme.md", "It trains 18.2k tokens/s.\n");
  file("figures.toml", named + "\"/loads/0/rate\"\n");
  check(0, {});
  file("readme.md", "It trains 18.3k tokens/s.\n");
  check(1, {"18.3 in \"trains {}k tokens/s\", where the results say 18.2"});
  for (const char* pointer : {"/loads/1/rate", "/loads/0/name", "loads"}) {
    file("figures.toml", named + "\"" + pointer + "\"\n");
    EXPECT_EQ(run("report --check" + words).code, 2) << pointer;
  }

  // New baselines are the ones that the page is written beside.
  file("figures.toml", "");
  std::filesystem::remove_all(dir / "baselines");
  EXPECT_EQ(run("report --update-baselines" + words).code, 0);
  check(0, {});

  std::filesystem::remove(dir / "peers");
  const Outcome absent = run("report --check" + words);
  EXPECT_EQ(absent.code, 2);
  expect_has(absent.err, {"error: there is no directory " + (dir / "peers")});
}

// The page, the history, the README and the curves that are committed.
TEST(Cli, WhatIsCommittedIsWhatTheCommittedResultsSay) {
  const int status = std::system("cd '" RLCPP_SOURCE "' && '" RLCPP_BINARY "' report --check");
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Cli, BenchPlansAsJson) {
  const Outcome o = run("bench --row.0.type sft --row.1.type rl --dry-run --json");
  ASSERT_EQ(o.code, 0) << o.err;
  const auto rows = nlohmann::json::parse(o.out);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["command"][0], "rlcpp");
  EXPECT_EQ(rows[0]["command"][1], "sft");
  EXPECT_FALSE(rows[1]["id"].get<std::string>().empty());
}

}  // namespace
}  // namespace rlcpp::test
