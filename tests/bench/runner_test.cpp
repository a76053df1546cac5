#include "bench/runner.h"

#include <fstream>

#include "base/durable.h"
#include "base/error.h"
#include "bench/plans.h"
#include "bench/process.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

const auto kAlways = [](double) { return true; };

std::string script(const test::TemporaryDirectory& dir, const std::string& body) {
  const std::string path = dir / "program.sh";
  std::ofstream(path) << "#!/bin/sh\n" << body;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(Process, ReportsCodeAndLastWords) {
  const test::TemporaryDirectory dir;
  const auto result =
      run_child({script(dir, "echo 'error: no such thing' >&2; echo '  because of that' >&2; exit 3\n")},
                dir / "log", 20, kAlways);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.reason(), "exit code 3: no such thing: of that");
}

TEST(Process, ReportsTheSignal) {
  const test::TemporaryDirectory dir;
  const auto result = run_child({script(dir, "kill -SEGV $$\n")}, dir / "log", 20, kAlways);
  EXPECT_EQ(result.signal, 11);
  EXPECT_NE(result.reason().find("signal 11"), std::string::npos);
}

TEST(Process, StopsAtTheDeadlineWithItsChildren) {
  const test::TemporaryDirectory dir;
  const auto result = run_child({script(dir, "sleep 60 & echo $! > " + (dir / "pid") + "; wait\n")},
                                dir / "log", 0.3, kAlways);
  EXPECT_TRUE(result.timed_out);
  EXPECT_LT(result.seconds, 15);
  EXPECT_FALSE(result.killed);
  EXPECT_EQ(result.reason(), "timeout: told to end (SIGTERM) after 0 s");
  int pid = 0;
  std::ifstream(dir / "pid") >> pid;
  ASSERT_GT(pid, 0);
  // The grandchild was in the same group: gone, or a zombie waiting for its reaper.
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string id, name, state;
  if (stat >> id >> name >> state) {
    EXPECT_EQ(state, "Z");
  }
}

TEST(Process, KillsWhatDoesNotEndAtTheDeadline) {
  const test::TemporaryDirectory dir;
  const auto result =
      run_child({script(dir, "trap '' TERM; while :; do sleep 0.1; done\n")}, dir / "log", 0.3, kAlways);
  EXPECT_TRUE(result.timed_out);
  EXPECT_TRUE(result.killed);
  EXPECT_LT(result.seconds, 8);
  EXPECT_NE(result.reason().find("killed (SIGKILL) 3 s later"), std::string::npos) << result.reason();
}

TEST(Process, MissingProgram) {
  const test::TemporaryDirectory dir;
  EXPECT_EQ(run_child({dir / "absent"}, dir / "log", 5, kAlways).exit_code, 127);
}

Matrix two_rows() {
  Matrix m;
  m.row.resize(2);
  m.row[0].type = "sft";
  m.row[1].type = "rl";
  m.defaults.model_name = "Qwen/Qwen3-0.6B";
  m.defaults.seq_len = 64;
  return m;
}

TEST(Matrix, RowsTakeDefaultsAndMakeCommands) {
  Matrix m = two_rows();
  m.row[1].lora_rank = 16;
  m.row[1].ac = "Recompute";
  const auto rows = plan_rows(m);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].arguments.front(), "sft");
  EXPECT_EQ(rows[1].arguments.front(), "trainer");
  EXPECT_NE(std::find(rows[1].arguments.begin(), rows[1].arguments.end(), "--model.lora.rank"),
            rows[1].arguments.end());
  EXPECT_EQ(rows[1].config.type_text(), "RL LoRA(r=16)");
  m.row[1] = m.row[0];
  EXPECT_THROW(plan_rows(m), Error);  // one id twice
}

TEST(Matrix, RowsAreChosenByNameAndByGpus) {
  Matrix m = two_rows();
  m.row[1].num_gpus = 4;
  m.row[1].scaling = "weak";
  m.row.push_back(m.row[1]);
  m.row[2].num_gpus = 8;
  const auto ids = [](const std::vector<PlannedRow>& rows) {
    std::vector<std::string> out;
    for (const PlannedRow& row : rows) out.push_back(row.id);
    return out;
  };
  using Ids = std::vector<std::string>;
  const std::string one = "Qwen3-0.6B-sft-full-64-1gpu-None", four = "Qwen3-0.6B-rl-full-64-4gpu-None-weak",
                    eight = "Qwen3-0.6B-rl-full-64-8gpu-None-weak";
  EXPECT_EQ(ids(plan_rows(m)), (Ids{one, four, eight}));
  m.gpus = {8, 1};
  EXPECT_EQ(ids(plan_rows(m)), (Ids{one, eight}));
  m.only = "weak";
  EXPECT_EQ(ids(plan_rows(m)), Ids{eight});
  m.only.clear();
  m.gpus.clear();
  auto rows = plan_rows(m);
  const std::vector<LeftOut> left = leave_out_larger(rows, 4);
  EXPECT_EQ(ids(rows), (Ids{one, four}));
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0].id, eight);
  EXPECT_EQ(left[0].why, "it needs 8 GPUs, and 4 can be used here");
}

// Two tables of one model, kind and length are two results: the rows of a step differ.
TEST(Matrix, WeakAndStrongAreTwoResults) {
  Matrix m = two_rows();
  m.row[1] = m.row[0];
  m.row[0].scaling = "weak";
  m.row[1].scaling = "strong";
  const auto rows = plan_rows(m);
  EXPECT_NE(rows[0].config.identity(), rows[1].config.identity());
  EXPECT_NE(rows[0].config.file_name(), rows[1].config.file_name());
  Result result;
  result.config = rows[0].config;
  EXPECT_EQ(from_json(to_json(result), "test").config.scaling, "weak");
  m.row[0].scaling.reset();
  EXPECT_EQ(plan_rows(m)[0].config.identity().find("weak"), std::string::npos);
}

RunnerOptions options_in(const test::TemporaryDirectory& dir, const std::string& program,
                         std::vector<std::string>* lines) {
  RunnerOptions o;
  o.program = program;
  o.results = dir / "results";
  o.commit_sha = "abcdef12";
  o.device_name = "CPU test";
  o.say = [lines](const std::string& line) { lines->push_back(line); };
  o.keep_going = [] { return true; };
  return o;
}

TEST(Runner, KeepsFailuresAndGoesOn) {
  const test::TemporaryDirectory dir;
  std::vector<std::string> lines;
  const auto outcome = run_matrix(
      plan_rows(two_rows()), options_in(dir, script(dir, "echo 'error: nothing works'; exit 2\n"), &lines));
  EXPECT_EQ(outcome.failed, 2);
  const auto results = read_directory(dir / "results");
  ASSERT_EQ(results.size(), 2U);
  EXPECT_FALSE(results[0].config.success);
  EXPECT_EQ(results[0].config.error_reason, "exit code 2: nothing works");
}

TEST(Runner, ARowDoesNotOverwriteAnothersResult) {
  const test::TemporaryDirectory dir;
  Matrix matrix = two_rows();
  matrix.row.push_back(matrix.row[0]);
  matrix.row.back().id = "again";
  matrix.row.back().extra = {"--optim.lr", "1"};
  std::vector<std::string> lines;
  try {
    run_matrix(plan_rows(matrix), options_in(dir, script(dir, "exit 2\n"), &lines));
    ADD_FAILURE() << "the first row's result was overwritten";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.what()).find("and again have one result file"), std::string::npos) << e.what();
  }
  EXPECT_EQ(read_directory(dir / "results").size(), 2U);
}

TEST(Runner, SkipsWhatThisCommitHasAndRunsTheRest) {
  const test::TemporaryDirectory dir;
  // The program writes a result file for the row that it was given, as a training command does.
  Result good;
  good.config = plan_rows(two_rows())[0].config;
  good.config.device_name = "CPU test";
  good.config.commit_sha = "abcdef12";
  good.config.numeric_mode = "exact";
  good.metrics.throughput.mean = 10;
  good.extension.emplace();
  std::ofstream(dir / "sft.json") << to_json(good);
  good.config.type = "rl";
  std::ofstream(dir / "trainer.json") << to_json(good);
  const std::string program =
      script(dir, "kind=$1; while [ $# -gt 1 ]; do [ \"$1\" = --bench.output-json ] && cp " + dir.path() +
                      "/$kind.json \"$2\"; shift; done\n");
  std::vector<std::string> lines;
  const RunnerOptions options = options_in(dir, program, &lines);
  EXPECT_EQ(run_matrix(plan_rows(two_rows()), options).done, 2);
  const auto again = run_matrix(plan_rows(two_rows()), options);
  EXPECT_EQ(again.skipped, 2);
  EXPECT_EQ(again.done, 0);
  const auto kept = read_directory(dir / "results");
  EXPECT_EQ(kept[0].extension->command, recorded_command(plan_rows(two_rows())[1]));
  EXPECT_EQ(kept[0].extension->command.front(), "rlcpp");
  // Whatever makes a row another measurement makes it run again. (The program writes one and the same file,
  // so the row's own command and options decide.)
  const auto runs_again = [&](auto change) {
    Matrix m = two_rows();
    RunnerOptions o = options;
    change(m, o);
    o.results = dir / "copy";
    std::filesystem::remove_all(o.results);
    std::filesystem::copy(options.results, o.results);
    return run_matrix(plan_rows(m), o).done == 2;
  };
  EXPECT_FALSE(runs_again([](Matrix&, RunnerOptions&) {}));
  EXPECT_TRUE(runs_again([](Matrix& m, RunnerOptions&) { m.defaults.micro_batches = 1; }));
  EXPECT_TRUE(runs_again([](Matrix& m, RunnerOptions&) { m.defaults.max_steps = 9; }));
  EXPECT_TRUE(runs_again([](Matrix& m, RunnerOptions&) { m.defaults.extra = {"--seed", "3"}; }));
  EXPECT_TRUE(runs_again([](Matrix& m, RunnerOptions&) { m.defaults.memory_limit = "1GiB"; }));
  EXPECT_TRUE(runs_again([](Matrix& m, RunnerOptions&) { m.device = "cuda"; }));
  EXPECT_TRUE(runs_again([](Matrix&, RunnerOptions& o) { o.numeric_mode = "fast"; }));
  EXPECT_TRUE(runs_again([](Matrix&, RunnerOptions& o) { o.device_name = "another"; }));
  EXPECT_TRUE(runs_again([](Matrix&, RunnerOptions& o) { o.repeats = 3; }));
  EXPECT_TRUE(runs_again([](Matrix&, RunnerOptions& o) { o.commit_sha = "12345678"; }));
  RunnerOptions changed = options;
  changed.commit_sha = "abcdef12+changes";
  EXPECT_EQ(run_matrix(plan_rows(two_rows()), changed).done, 2);
  EXPECT_EQ(run_matrix(plan_rows(two_rows()), changed).done, 2);
  RunnerOptions fresh = options;
  fresh.fresh = true;
  EXPECT_EQ(run_matrix(plan_rows(two_rows()), fresh).done, 2);
  RunnerOptions stopped = options;
  stopped.keep_going = [] { return false; };
  EXPECT_TRUE(run_matrix(plan_rows(two_rows()), stopped).stopped);
}

TEST(Plans, ATableOfWhatFitsAndWhatDoesNot) {
  const test::TemporaryDirectory dir;
  std::ofstream(dir / "plan.json")
      << R"({"ranks": "4 ranks (one process); ZeRO 3, the lowest that fits: all", "memory": {"weights": 1073741824,
             "gradients": 2147483648, "optimizer": 4294967296, "activations": 536870912, "logits": 99,
             "planned": 8589934592, "available": 9000000000}})";
  const std::string program =
      script(dir, "echo \"$@\" >> " + (dir / "asked") + "; if [ $1 = sft ]; then cat " + (dir / "plan.json") +
                      "; else echo 'error: the memory plan does not fit' >&2; exit 3; fi\n");
  const auto plans =
      plan_memory(plan_rows(two_rows()), program, "78.6GiB", dir / "logs", [] { return true; });
  ASSERT_EQ(plans.size(), 2U);
  EXPECT_EQ(plans[0].zero, "3");
  EXPECT_EQ(plans[0].planned, 8);
  EXPECT_EQ(plans[0].other, 0.5);
  EXPECT_TRUE(plans[0].error.empty());
  EXPECT_EQ(plans[1].error, "exit code 3: the memory plan does not fit");
  const std::string table = plans_table(plans);
  EXPECT_NE(table.find("| Qwen3-0.6B-sft-full-64-1gpu-None | 3 | 1.0 | 2.0 | 4.0 | 0.5 | 0.5 | 8.0 GiB |"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("does not fit"), std::string::npos);
  EXPECT_NE(durable::read_file(dir / "asked").find("--memory-limit 78.6GiB --dry-run --json --quiet"),
            std::string::npos);
  EXPECT_THROW(plan_from_json("row", "{}"), Error);
}

// A row that would not end in time is not begun, and the next, which would, is; one that takes longer than
// expected is stopped at the end. Neither leaves a result: it was not measured, and did not fail.
TEST(Runner, KeepsToItsTime) {
  const test::TemporaryDirectory dir;
  Result good;
  good.config = plan_rows(two_rows())[1].config;
  good.extension.emplace();
  std::ofstream(dir / "trainer.json") << to_json(good);
  const std::string program = script(
      dir, "echo $1 >> " + (dir / "begun") +
               "; [ $1 = sft ] && sleep 60; while [ $# -gt 1 ]; do [ \"$1\" = --bench.output-json ] && cp " +
               dir.path() + "/trainer.json \"$2\"; shift; done\n");
  std::vector<std::string> lines;
  RunnerOptions options = options_in(dir, program, &lines);
  Matrix m = two_rows();
  m.row[0].expected = 100;
  m.row[1].expected = 2;
  options.seconds = 50;
  RunnerOutcome outcome = run_matrix(plan_rows(m), options);
  EXPECT_EQ(outcome.done, 1);
  EXPECT_FALSE(outcome.stopped);
  ASSERT_EQ(outcome.left_out.size(), 1U);
  EXPECT_EQ(outcome.left_out[0].id, plan_rows(m)[0].id);
  EXPECT_TRUE(outcome.left_out[0].why.starts_with("it is expected to take 100 s, and "))
      << outcome.left_out[0].why;
  EXPECT_EQ(durable::read_file(dir / "begun"), "trainer\n");
  EXPECT_EQ(read_directory(dir / "results").size(), 1U);

  m.row[0].expected = 1;
  options.seconds = 1.5;
  options.results = dir / "second";
  outcome = run_matrix(plan_rows(m), options);
  EXPECT_EQ(outcome.done + outcome.failed, 0);
  EXPECT_FALSE(outcome.stopped);
  ASSERT_EQ(outcome.left_out.size(), 2U);
  EXPECT_EQ(outcome.left_out[0].why, "it was stopped when the time was over");
  EXPECT_EQ(durable::read_file(dir / "begun"), "trainer\nsft\n");
  EXPECT_TRUE(read_directory(dir / "second").empty());
}

}  // namespace
}  // namespace rlcpp::bench
