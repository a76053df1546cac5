// What a new user types without reading: options that mean nothing here, amounts that cannot be meant, disks
// that are full. Each is refused in a sentence, or said in one.
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

struct Careless : testing::Test {
  static void SetUpTestSuite() { world_ = new SftWorld(); }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static SftWorld* world_;

  static void refused(const std::vector<std::string>& more, const std::vector<std::string>& parts) {
    world_->expect_refused(world_->sft("refused", more), "refused", parts);
  }
  // Runs, and one line of the log is a warning with `part`; none where it is empty.
  static void warned(const std::vector<std::string>& more, const std::string& part) {
    std::filesystem::remove_all(*world_ / "warned");
    std::vector<std::string> words = more;
    words.insert(words.end(), {"--max-steps", "1", "--no-ckpt", "--device", "cpu"});
    const ProcessOutcome o = world_->run(world_->sft("warned", words));
    ASSERT_EQ(o.code, 0) << o.err;
    const auto first = o.err.find(" WARN ");
    EXPECT_EQ(first != std::string::npos, !part.empty()) << o.err;
    EXPECT_EQ(first, o.err.rfind(" WARN ")) << "more than one warning in\n" << o.err;
    expect_has(o.err, {part});
  }
};
SftWorld* Careless::world_ = nullptr;

TEST_F(Careless, RanksThatContradictTheDeviceAreRefused) {
  // A dry run plans for a GPU that is not here, so that the contradiction is found on any machine.
  refused({"--device", "cuda:1", "--dist.ranks", "2", "--dry-run"},
          {"--device cuda:1 and dist.ranks = 2 contradict"});
  refused({"--device", "cuda:1", "--dist.devices", "[0, 1]", "--dry-run"},
          {"dist.devices = [0, 1] contradict"});
  refused({"--device", "cuda:1", "--dist.devices", "[0]", "--dry-run"}, {"dist.devices = [0] contradict"});
  refused({"--device", "cuda:0", "--dist.processes", "2", "--dist.process", "0", "--dist.address",
           "localhost:9", "--dry-run"},
          {"--device cuda:0 and 2 processes contradict"});
}

TEST_F(Careless, AMeetingPlaceOfNobodyIsRefused) {
  refused({"--dist.address", "localhost:29400"}, {"dist.address", "dist.processes", "dist.ranks"});
  warned({"--dist.address", "localhost:29400", "--dist.processes", "1", "--dist.process", "0"},
         "dist.address changes nothing: there is one process");
}

TEST_F(Careless, OptionsThatChangeNothingAreSaidInALine) {
  warned({}, "");
  warned({"--dist.zero", "3"}, "dist.zero = 3 changes nothing: there is one rank");
  warned({"--dist.zero", "2", "--dist.ranks", "2", "--model.lora.rank", "4"},
         "dist.zero = 2 changes nothing: with model.lora");
  warned({"--dist.zero", "2", "--dist.ranks", "2"}, "");
  warned({"--dist.ranks", "3", "--data.batch-size", "2"}, "1 of 3 ranks have nothing to compute");
  warned({"--dist.ranks", "2", "--data.micro-batch-size", "4"}, "1 of 2 ranks have nothing to compute");
  // Those that wait at the end of each step, and what would share it evenly.
  warned({"--dist.ranks", "2", "--data.batch-size", "3"},
         "1 of 2 ranks have nothing to compute at the end of each step: a step has 3 micro-batches, each for "
         "one rank; 1 or 3 ranks would share them evenly, and so would 4 micro-batches");
  warned({"--dist.ranks", "3", "--data.batch-size", "2"},
         "a step has 2 micro-batches, each for one rank; 2 ranks would share them evenly, and so would 3 "
         "micro-batches");
  const ProcessOutcome o = world_->run(
      {"trainer", "--data.fake.batch-size", "1", "--model.name", *world_ / "model", "--model.seq-len", "64",
       "--max-steps", "1", "--dist.ranks", "2", "--device", "cpu", "--output-dir", *world_ / "fake"});
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"1 of 2 ranks have nothing to compute"});
}

TEST_F(Careless, RlNamesWhatTrainsOnSeveralRanks) {
  const ProcessOutcome inner =
      world_->run({"rl", "--trainer.dist.ranks", "2", "--output-dir", *world_ / "rl"});
  EXPECT_EQ(inner.code, 2);
  expect_has(inner.err, {"trainer and engine have the same ranks", "set dist at the top"});
  const ProcessOutcome several = world_->run({"rl", "--dist.processes", "2", "--output-dir", *world_ / "rl"});
  EXPECT_EQ(several.code, 2);
  expect_has(several.err, {"rl is one process", "rlcpp trainer", "rlcpp orchestrator"});
  const ProcessOutcome o = world_->run({"orchestrator", "--dist.ranks", "2", "--output-dir", *world_ / "rl"});
  EXPECT_EQ(o.code, 2);
  expect_has(o.err, {"the orchestrator is one process", "rlcpp trainer --dist.ranks"});
}

TEST_F(Careless, AmountsThatCannotBeMeantAreRefused) {
  refused({"--memory-limit", "44"}, {"\"44\" is 44 bytes: did you mean 44GiB?"});
  refused({"--ckpt.staging", "8"}, {"ckpt.staging = \"8\" is 8 bytes: did you mean 8GiB?"});
  EXPECT_EQ(world_->run(world_->sft("plain", {"--memory-limit", "2e9", "--dry-run"})).code, 0);
  EXPECT_EQ(world_->run(world_->sft("plain", {"--memory-limit", "64 MiB", "--dry-run"})).code, 0);
  // The model's hidden size is 16.
  refused({"--model.lora.rank", "17"}, {"model.lora.rank = 17", "a rank of at most 16"});
  refused({"--model.lora.rank", "100000000000"}, {"model.lora.rank", "at most 16"});
  refused({"--model.lora.rank", "9", "--model.lora.target-modules", "[\"k_proj\"]"}, {"at most 8"});
  refused({"--model.lora.alpha", "0"}, {"model.lora.alpha", "above 0"});
  refused({"--model.lora.alpha", "1e300"}, {"model.lora.alpha"});
  refused({"--optim.lr", "1e400"}, {"optim.lr", "1e400 does not fit into 64 bits"});
  refused({"--optim.lr", "1e-400"}, {"1e-400 does not fit into 64 bits"});
  refused({"--dist.timeout", "9223372036854775807"}, {"dist.timeout", "1000000"});
  refused({"--model.name", *world_ / "model/config.json"}, {"config.json\" is a file", "the directory"});
  refused({"--model.name", world_->file("m.gguf", "GGUF")}, {"m.gguf\" is a file", "rlcpp convert"});
  refused({"--output-dir", "/", "--dry-run"}, {"output_dir is the root of the file system"});
}

// The weights of a run that gave up are those before the steps that it skipped. Whether those are good is not
// known: an absurd learning rate has spoiled them with its first step.
TEST_F(Careless, ARunThatGaveUpDoesNotCallItsWeightsGood) {
  const ProcessOutcome o = world_->run(world_->sft("absurd", {"--optim.lr", "1e30", "--max-steps", "20"}));
  EXPECT_EQ(o.code, 1) << o.err;
  expect_has(o.err, {"as they were before these steps are saved in", "checkpoints/step_", "lower optim.lr"});
  EXPECT_EQ(o.err.find("good weights"), std::string::npos) << o.err;
  EXPECT_EQ(o.err.find("-nan"), std::string::npos) << o.err;
}

TEST_F(Careless, AFileThatMayNotGrowIsAnErrorNotASilentDeath) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 12 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const ProcessOutcome o = world_->run(world_->sft("full", {"--max-steps", "2"}));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(o.code, 3) << o.err;
  expect_has(o.err, {"error: ", "File too large"});
}

// What may not be read looks empty to whoever lists it, and a dry run looks at what it would write to.
TEST_F(Careless, DirectoriesWithoutRightsAreNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read and write everything";
  namespace fs = std::filesystem;
  const std::string locked = *world_ / "locked";
  fs::create_directories(locked);
  fs::permissions(locked, fs::perms::none);
  refused({"--data.name", locked}, {"data.name = \"", "locked\" cannot be read", "Permission denied"});
  refused({"--tokenizer.name", locked}, {"tokenizer.name = \"", "locked\" cannot be read"});
  refused({"--model.lora.name", locked}, {"model.lora.name = \"", "locked\" cannot be read"});
  refused({"--output-dir", locked + "/run", "--dry-run"},
          {"cannot write in output_dir", "Permission denied"});
  const ProcessOutcome o = world_->run({"sft", "--bench", "--model.name", *world_ / "model", "--data.seq-len",
                                        "64", "--bench.output-json", locked + "/result.json"});
  EXPECT_EQ(o.code, 3);
  expect_has(o.err, {"cannot write in bench.output_json"});
  EXPECT_EQ(o.err.find("step "), std::string::npos) << "found out after the work:\n" << o.err;
  fs::permissions(locked, fs::perms::owner_all);
}

TEST_F(Careless, AmountsThatNoMachineHasAreRefused) {
  refused({"--data.micro-batch-size", "9223372036854775807", "--data.batch-size", "9223372036854775807"},
          {"more tokens than any memory holds"});
  refused({"--data.seq-len", "9223372036854775807"}, {"more tokens than any memory holds"});
  // Rows of that length fit nowhere either, beside the plan; shorter ones do, and that is what is said.
  for (const char* length : {"1000000000", "2147483648", "100000000000"}) {
    const ProcessOutcome o = world_->run(
        world_->sft("silly", {"--data.seq-len", length, "--device", "cpu", "--memory-limit", "2GiB"}));
    EXPECT_EQ(o.code, 3) << o.err;
    expect_has(o.err, {"error: the memory plan does not fit", "are missing", "help: --data.seq-len "});
    EXPECT_EQ(o.err.find("no change"), std::string::npos) << o.err;
    EXPECT_FALSE(std::filesystem::exists(*world_ / "silly/metrics.jsonl"));
    const std::size_t at = o.err.find("--data.seq-len ") + 15;
    const std::string shorter = o.err.substr(at, o.err.find(':', at) - at);
    const ProcessOutcome fits = world_->run(world_->sft(
        "silly", {"--data.seq-len", shorter, "--device", "cpu", "--memory-limit", "2GiB", "--dry-run"}));
    EXPECT_EQ(fits.code, 0) << shorter << "\n" << fits.err;
  }
}

// What copies or prints a JSON value recurses.
TEST_F(Careless, FilesOfModelsThatAreNestedWithoutEndAreRefused) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  world_->file("deep/config.json", "{\"architectures\": " + deep + "}");
  refused({"--model.name", *world_ / "deep"}, {"deep/config.json"});
  world_->file("deeptok/tokenizer.json", "{\"model\": " + deep + "}");
  refused({"--tokenizer.name", *world_ / "deeptok"},
          {"deeptok/tokenizer.json", "nested 1000001 levels deep"});
}

TEST_F(Careless, DirectoriesThatCannotBeAreNamed) {
  const std::string file = world_->file("afile", "x");
  const auto place = [&](const std::string& path, const std::vector<std::string>& parts) {
    std::vector<std::string> words = world_->sft("refused", {"--max-steps", "1"});
    *(std::find(words.begin(), words.end(), "--output-dir") + 1) = path;
    const ProcessOutcome o = world_->run(words);
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, parts);
  };
  place(file + "/run", {"cannot write in output_dir", "afile is a file"});
  std::filesystem::create_symlink("nowhere/at/all", *world_ / "alink");
  place(*world_ / "alink", {"is a link to nothing"});
}

// A run that was killed before its first checkpoint: what one message advises, the next does not refuse.
TEST_F(Careless, ADirectoryWithoutACheckpointIsBegunAnew) {
  ASSERT_EQ(world_->run(world_->sft("bare", {"--max-steps", "1", "--no-ckpt"})).code, 0);
  const ProcessOutcome used = world_->run(world_->sft("bare", {"--max-steps", "1"}));
  EXPECT_EQ(used.code, 2);
  expect_has(used.err, {"was used by another run", "with --clean", "no checkpoint to continue from"});
  EXPECT_EQ(used.err.find("--ckpt.resume-step"), std::string::npos) << used.err;
  const ProcessOutcome none =
      world_->run(world_->sft("bare", {"--max-steps", "1", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(none.code, 2);
  expect_has(none.err, {"holds no checkpoint to resume from", "add --clean"});
  EXPECT_EQ(world_->run(world_->sft("bare", {"--max-steps", "2", "--clean"})).code, 0);
  const ProcessOutcome again =
      world_->run(world_->sft("bare", {"--max-steps", "1", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(again.code, 0) << again.err;
  expect_has(again.out, {"--max-steps 4"});
}

TEST_F(Careless, RowsThatAreNotRowsAreNamed) {
  const auto row = [&](const std::string& text, const std::vector<std::string>& parts) {
    world_->file("odd/train.jsonl", text + "\n");
    refused({"--data.name", *world_ / "odd"}, parts);
  };
  row(R"({"prompt": 1, "completion": null})", {"prompt, completion", "null"});
  row(R"({"prompt": "a")", {"malformed JSON at column 15"});
  row("{\"prompt\": \"a\xff\", \"completion\": \"b\"}", {"train.jsonl:1", "the line is not UTF-8"});
  const ProcessOutcome o = world_->run(world_->sft("refused", {"--data.name", *world_ / "odd"}));
  EXPECT_EQ(o.err.find("json.exception"), std::string::npos) << o.err;
  // Three rows, none of which has a token to train in so few: three were looked at.
  world_->file("odd/train.jsonl",
               "{\"prompt\": \"aaaa\", \"completion\": \"b\"}\n{\"prompt\": \"cccc\", \"completion\": "
               "\"d\"}\n{\"prompt\": \"eeee\", \"completion\": \"f\"}\n");
  const ProcessOutcome few =
      world_->run(world_->sft("few", {"--data.name", *world_ / "odd", "--data.seq-len", "2"}));
  EXPECT_EQ(few.code, 2);
  expect_has(few.err, {"no row of the data set", "3 rows were looked at"});
}

}  // namespace
}  // namespace rlcpp::test
