// Against HF's tokenizers and Jinja2 themselves, on strings that nobody chose and on templates that people
// ship: what tools/install_oracles.sh installs, in the long tier. The fast tier has a share of both as golden
// files (tests/tokenizer/golden_test.cpp, template_golden_test.cpp).
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

#include "data/data_files.h"
#include "support.h"
#include "tokenizer/golden.h"

namespace rlcpp::app {
namespace {

// Standard output of a shell command; errors go where the test's go.
std::string output_of(const std::string& command, int* status) {
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::string out;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, got);
  const int code = pclose(pipe);
  *status = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  return out;
}

const std::string kTools = std::string(RLCPP_SOURCE) + "/tools/";

class Oracle : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::long_tier()) GTEST_SKIP() << "long tier";
    int status = 0;
    folder_ = output_of(kTools + "install_oracles.sh", &status);
    if (status == 3) GTEST_SKIP() << "the Python packages to compare with cannot be had";
    ASSERT_EQ(status, 0);
    while (!folder_.empty() && folder_.back() == '\n') folder_.pop_back();
  }

  void run_oracle(const std::string& script, const std::string& arguments) const {
    int status = -1;
    const std::string command = "PYTHONPATH='" + folder_ + "' python3 " + kTools + script + " " + arguments;
    const std::string said = output_of(command, &status);
    std::printf("%s", said.c_str());
    ASSERT_EQ(status, 0) << command;
  }

  // `name`: what oracle_tokenizer.py fresh takes.
  void compare_tokenizer(const std::string& name, int strings) const {
    const test::TemporaryDirectory out;
    run_oracle("oracle_tokenizer.py", "fresh '" + name + "' " + std::to_string(strings) + " " + out.path());
    if (HasFatalFailure()) return;
    test::expect_golden_tokens(tokenizer::Tokenizer::load(out / "tokenizer.json"), name, out / "golden.json",
                               static_cast<std::size_t>(strings));
  }

  std::string folder_;
};

constexpr int kStrings = 20000;

TEST_F(Oracle, Qwen3TokenizerOnFreshStrings) {
  compare_tokenizer("qwen3", kStrings);
}

TEST_F(Oracle, Llama3PatternOnFreshStrings) {
  compare_tokenizer("llama3-large", kStrings);
}

TEST_F(Oracle, AddedTokensOfEveryKindOnFreshStrings) {
  compare_tokenizer("llama3-style", kStrings);
}

TEST_F(Oracle, SmolLm2TokenizerOnFreshStrings) {
  const std::string model = std::string(RLCPP_SOURCE) + "/build/oracle-smollm2";
  int status = 0;
  output_of(kTools + "get_smollm2.sh " + RLCPP_BINARY + " " + model, &status);
  if (status == 3) GTEST_SKIP() << "the model cannot be had";
  ASSERT_EQ(status, 0);
  compare_tokenizer(model, kStrings);
}

TEST_F(Oracle, ParquetOfRandomSchemas) {
  const test::TemporaryDirectory out;
  constexpr int kFiles = 400;
  run_oracle("oracle_parquet.py", "fresh " + std::to_string(kFiles) + " " + out.path());
  if (HasFatalFailure()) return;
  for (int i = 0; i < kFiles; ++i) {
    const std::string stem = out / std::to_string(i);
    std::istringstream ours(data::read_data_lines(stem + ".parquet")),
        theirs(durable::read_file(stem + ".jsonl"));
    std::string a, b;
    for (int row = 0; std::getline(theirs, b); ++row) {
      SCOPED_TRACE(stem + ", row " + std::to_string(row));
      ASSERT_TRUE(std::getline(ours, a));
      ASSERT_EQ(nlohmann::ordered_json::parse(a), nlohmann::ordered_json::parse(b));
    }
    EXPECT_FALSE(std::getline(ours, a)) << a;
  }
}

// Every conversation with every variation, tools and thinking included; where Jinja2 fails we must fail.
TEST_F(Oracle, TemplatesInsidePythonPackages) {
  const test::TemporaryDirectory out;
  run_oracle("oracle_templates.py", "packages '" + folder_ + "' " + (out / "templates.json"));
  if (HasFatalFailure()) return;
  const auto golden = nlohmann::ordered_json::parse(durable::read_file(out / "templates.json"));
  ASSERT_GE(golden["sources"].size(), 100u);
  ASSERT_GE(golden["rows"].size(), 4000u);
  std::set<std::string> packages;
  for (const auto& [name, source] : golden["sources"].items())
    packages.insert(name.substr(0, name.find('/')));
  for (const char* package : {"trl", "unsloth", "guidance"})
    EXPECT_TRUE(packages.contains(package)) << package;
  test::expect_golden_renderings(
      golden, [&](const std::string& name) { return golden["sources"][name].get<std::string>(); });
}

}  // namespace
}  // namespace rlcpp::app
