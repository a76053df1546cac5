// The project's own scripts, as a user meets them who tries --help first, or mistypes an option: they say how
// they are used, or what they do not know, and do nothing.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "world.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

struct Script {
  std::string name, interpreter;
};

std::vector<Script> scripts() {
  std::vector<Script> out = {{"run.sh", "bash"}, {"test.sh", "bash"}};
  for (const std::string folder : {"tools/", "tools/peers/"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(RLCPP_SOURCE) / folder)) {
      const std::string name = folder + entry.path().filename().string();
      if (entry.path().extension() == ".sh") out.push_back({name, "bash"});
      const bool module = name == "tools/usage.py" || name == "tools/peers/options.py";
      if (entry.path().extension() == ".py" && !module) out.push_back({name, "python3 -B"});
    }
  }
  return out;
}

class Scripts : public testing::Test {
 protected:
  ProcessOutcome run(const Script& script, const std::string& arguments) const {
    const std::string line = "cd '" RLCPP_SOURCE "' && timeout 30 env " + script.interpreter + " " +
                             script.name + " " + arguments + " >'" + (dir_ / "out") + "' 2>'" +
                             (dir_ / "err") + "' </dev/null";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(dir_ / "out"), slurp(dir_ / "err")};
  }
  bool runs(const Script& script) const {
    return script.interpreter == "bash" || std::system("command -v python3 >/dev/null") == 0;
  }
  // What lies in the tree beside what builds and interpreters leave.
  static std::set<std::string> tree() {
    std::set<std::string> out;
    for (const char* folder : {"", "tools", "tests/data", "data", "outputs", "build"}) {
      std::error_code ignored;
      for (const auto& entry : fs::directory_iterator(fs::path(RLCPP_SOURCE) / folder, ignored))
        out.insert(entry.path().string());
    }
    return out;
  }
  TemporaryDirectory dir_;
};

TEST_F(Scripts, HelpSaysHowEachIsUsed) {
  const auto before = tree();
  int tried = 0;
  for (const Script& script : scripts()) {
    if (!runs(script)) continue;
    ++tried;
    for (const char* help : {"--help", "-h"}) {
      const ProcessOutcome o = run(script, help);
      EXPECT_EQ(o.code, 0) << script.name << " " << help << ": " << o.err;
      EXPECT_TRUE(o.err.empty()) << script.name << ": " << o.err;
      EXPECT_NE(o.out.find(fs::path(script.name).filename().string()), std::string::npos)
          << script.name << " does not show how it is called: " << o.out;
    }
  }
  EXPECT_GE(tried, 10);
  EXPECT_EQ(tree(), before);
}

TEST_F(Scripts, AnUnknownOptionIsOneSentence) {
  const auto before = tree();
  for (const Script& script : scripts()) {
    if (!runs(script)) continue;
    const ProcessOutcome o = run(script, "--no-such-option");
    EXPECT_EQ(o.code, 2) << script.name << ": " << o.err;
    EXPECT_TRUE(o.err.starts_with("error: ")) << script.name << ": " << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << script.name << ": " << o.err;
    EXPECT_TRUE(o.out.empty()) << script.name << ": " << o.out;
  }
  EXPECT_EQ(tree(), before);
}

TEST_F(Scripts, WordsThatAreMissingOrTooManyAreNamed) {
  for (const auto& [script, arguments] : std::vector<std::pair<std::string, std::string>>{
           {"tools/get_smollm2.sh", ""},
           {"tools/get_smollm2.sh", "one"},
           {"tools/make_reverse_text.sh", ""},
           {"tools/make_reverse_text.sh", "/nonexistent/out many"},
           {"tools/make_reverse_text.sh", "/nonexistent/out 10 -3"},
           {"tools/build.sh", ""},
           {"tools/nightly.sh", "benchmarks/matrix.toml benchmarks/matrix_1gpu.toml"},
           {"tools/nightly.sh", "no-such-matrix.toml"},
           {"tools/install_cuda.sh", "now"},
           {"tools/slurm_one_node.sh", "start"},
           {"tools/fuzz_all.sh", ""},
           {"tools/fuzz_all.sh", "soon"},
           {"tools/fuzz_all.sh", "10 2 3"},
           {"tools/fuzz_all.sh", "10"},  // beside no fuzzers
           {"tools/pack_fuzzers.sh", ""},
           {"tools/scaling.sh", "--minutes"},
           {"tools/scaling.sh", "--minutes soon"},
           {"tools/scaling.sh", "--gpus all"},
           {"tools/scaling.sh", "--prebuilt /nonexistent/folder"}}) {
    const ProcessOutcome o = run({script, "bash"}, arguments);
    EXPECT_EQ(o.code, 2) << script << ": " << o.err;
    EXPECT_TRUE(o.err.starts_with("error: ")) << script << ": " << o.err;
  }
}

TEST_F(Scripts, BenchCpuNamesWhatItCannotUse) {
  const Script script = {"tools/bench_cpu.py", "python3 -B"};
  if (!runs(script)) GTEST_SKIP() << "there is no python3";
  for (const std::string arguments :
       {"--rlcpp /nonexistent/rlcpp", "--rlcpp " RLCPP_BINARY " --threads 4097",
        "--rlcpp " RLCPP_BINARY " --threads 0", "--rlcpp " RLCPP_BINARY " --repeats 0",
        "--render --json /nonexistent/results.json", "--threads many", "more"}) {
    const ProcessOutcome o = run(script, arguments);
    EXPECT_EQ(o.code, 2) << arguments << ": " << o.err;
    EXPECT_TRUE(o.err.starts_with("error: ")) << arguments << ": " << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << arguments << ": " << o.err;
  }
}

// The page is what the measurements beside it say.
TEST_F(Scripts, ThePageOfTheCpuIsThatOfItsResults) {
  const Script script = {"tools/bench_cpu.py", "python3 -B"};
  if (!runs(script)) GTEST_SKIP() << "there is no python3";
  const ProcessOutcome o = run(script, "--render --page '" + (dir_ / "page.md") + "'");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(slurp(dir_ / "page.md"), slurp(std::string(RLCPP_SOURCE) + "/docs/benchmarks-cpu.md"));
}

// With an nvidia-smi that lists so many GPUs.
TEST_F(Scripts, TheNightlyRunsTheMatricesThatTheMachineCanMeasure) {
  const auto before = tree();
  const auto plan = [&](int gpus, const std::string& arguments = "") {
    std::ofstream(dir_ / "nvidia-smi")
        << "#!/bin/sh\nfor i in $(seq " << gpus
        << "); do echo \"GPU $i: NVIDIA H100 80GB HBM3 (UUID: GPU-0)\"; done\n";
    fs::permissions(dir_ / "nvidia-smi", fs::perms::owner_all);
    const ProcessOutcome o =
        run({"tools/nightly.sh", "PATH='" + dir_.path() + "':\"$PATH\" bash"}, "--dry-run " + arguments);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.out;
  };
  const std::string cpu = "to run: benchmarks/matrix.toml\n", one = "to run: benchmarks/matrix_1gpu.toml\n",
                    two = "to run: benchmarks/matrix_2gpu.toml\n";
  EXPECT_EQ(plan(0),
            "not run: benchmarks/matrix_1gpu.toml, which needs 1 GPU; this machine has 0\n"
            "not run: benchmarks/matrix_2gpu.toml, which needs 2 GPUs; this machine has 0\n" +
                cpu);
  EXPECT_EQ(plan(1),
            "not run: benchmarks/matrix_2gpu.toml, which needs 2 GPUs; this machine has 1\n" + cpu + one);
  EXPECT_EQ(plan(2), cpu + one + two);
  EXPECT_EQ(plan(8), cpu + one + two);
  EXPECT_EQ(plan(2, "benchmarks/matrix_1gpu.toml"), one);
  EXPECT_EQ(tree(), before);
}

}  // namespace
}  // namespace rlcpp::test
