// `rlcpp sft` as a user meets it, on a tiny model.
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Sft : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::vector<Json> metrics(const std::string& out) { return world_->metrics(out); }
  static SftWorld* world_;
};
SftWorld* Sft::world_ = nullptr;

TEST_F(Sft, DryRunShowsPlanAndMaskedSamplesAndTouchesNothing) {
  const auto o = world_->run(world_->sft("dry", {"--dry-run"}));
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"sample 1", "sample 3", "tokens, ", " trained", "<|im_start|>assistant\\n[[",
                     "<|im_end|>\\n]]", "train.jsonl:"});
  EXPECT_EQ(o.out.find("sample 4"), std::string::npos);
  expect_has(o.err, {"optim.lr = 0.01 (command line)", "activations", "planned", "random weights", "100 rows",
                     "a dry run writes nothing there"});
  // Order of the banner.
  std::size_t at = 0;
  for (const char* part : {"rlcpp sft", "device:", "model:", "data:", "set ", "memory:", "run:"}) {
    const std::size_t next = o.err.find(part, at);
    ASSERT_NE(next, std::string::npos) << part;
    at = next;
  }
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
  EXPECT_EQ(world_->run(world_->sft("dry")).code, 0);  // the real run may follow in the same directory
}

TEST_F(Sft, ARunLeavesItsRecords) {
  const auto o = world_->run(world_->sft("records", {"--val.interval", "3", "--val.eval-on-start",
                                                     "--ckpt.interval", "2", "--max-steps", "12"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"SFT finished", "steps", "validation loss", "next:", "rl @", "--model.name",
                     "--ckpt.resume-step -1 --max-steps 24"});
  expect_has(o.err, {"step  1/12  loss ", "grad ", "lr 1.0e-02", "tok/s", "eta ",
                     "step 12/12  validation loss", "saved step 12"});
  for (const char* name : {"configs/resolved.toml", "logs/trainer.log", "loss.svg", "checkpoints/latest",
                           "checkpoints/step_2/manifest.json", "checkpoints/step_12/trainer/state.json",
                           "weights/step_12/model.safetensors", "weights/step_12/tokenizer.json"}) {
    EXPECT_TRUE(fs::exists(*world_ / (std::string("records/") + name))) << name;
  }
  EXPECT_FALSE(fs::is_empty(*world_ / "records/tensorboard"));
  const auto lines = metrics("records");
  ASSERT_EQ(lines.size(), 13U);  // step 0 is the validation before the first
  EXPECT_EQ(lines[0]["step"], 0);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"], i);
    EXPECT_EQ(lines[i]["producer"], "trainer");
    EXPECT_EQ(lines[i].contains("val/loss"), i % 3 == 0);
    for (const char* key : {"loss/mean", "loss/nan_count", "optim/lr", "optim/grad_norm", "time/step",
                            "time/forward_backward", "time/load_data", "perf/throughput", "perf/peak_memory",
                            "progress/epoch", "progress/num_samples", "progress/num_tokens"}) {
      EXPECT_TRUE(lines[i].contains(key) && lines[i][key].is_number()) << key;
    }
  }
  EXPECT_LT(lines[12]["loss/mean"].get<double>(), 0.8 * lines[1]["loss/mean"].get<double>());
  EXPECT_LT(lines[12]["val/loss"].get<double>(), 0.8 * lines[0]["val/loss"].get<double>());
  // The log on disk has the same lines as stderr from the moment it exists.
  expect_has(slurp(*world_ / "records/logs/trainer.log"), {"step 12/12  loss"});
  // What was saved is a model again.
  const auto again = world_->run(
      world_->sft("records2", {"--model.name", *world_ / "records/weights/step_12", "--max-steps", "1"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_LT(metrics("records2")[0]["loss/mean"].get<double>(), 0.8 * lines[1]["loss/mean"].get<double>());
}

TEST_F(Sft, SameSeedSameBitsWhateverTheThreadsAndGroups) {
  ASSERT_EQ(world_->run(world_->sft("same1")).code, 0);
  ASSERT_EQ(world_->run(world_->sft("same2", {"--threads", "3"})).code, 0);
  ASSERT_EQ(world_->run(world_->sft("same3", {"--seed", "1"})).code, 0);
  ASSERT_EQ(world_->run(world_->sft("same4", {"--data.seed", "1"})).code, 0);
  EXPECT_EQ(world_->state("same1", 6), world_->state("same2", 6));
  EXPECT_NE(world_->state("same1", 6), world_->state("same3", 6));
  EXPECT_NE(world_->state("same1", 6), world_->state("same4", 6));
  // Rows that go through the model together change no sum but the order of micro-batches'.
  ASSERT_EQ(world_->run(world_->sft("same5", {"--data.micro-batch-size", "4"})).code, 0);
  const auto one = metrics("same1"), four = metrics("same5");
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(one[i]["loss/mean"].get<double>(), four[i]["loss/mean"].get<double>(), 1e-4);
    EXPECT_EQ(one[i]["progress/num_tokens"], four[i]["progress/num_tokens"]);
  }
}

TEST_F(Sft, ResumedRunEqualsTheUnbrokenOneBitForBit) {
  const std::vector<std::string> schedule = {"--scheduler.type", "cosine", "--scheduler.warmup-steps", "2"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), schedule.begin(), schedule.end());
    return more;
  };
  ASSERT_EQ(world_->run(world_->sft("whole", with({"--ckpt.interval", "1", "--max-steps", "9"}))).code, 0);
  // Stops at 9 too, but starts again from 3, and from 7; steps behind those are set aside.
  ASSERT_EQ(world_->run(world_->sft("parts", with({"--ckpt.interval", "1", "--max-steps", "9"}))).code, 0);
  for (const char* step : {"3", "7"}) {
    const auto o = world_->run(
        world_->sft("parts", with({"--ckpt.interval", "1", "--max-steps", "9", "--ckpt.resume-step", step})));
    ASSERT_EQ(o.code, 0) << o.err;
    expect_has(o.err, {std::string("resumed from "), std::string("step_") + step, "set ", " aside"});
    EXPECT_EQ(o.err.find("the configuration is not the one"), std::string::npos) << o.err;
    for (int s = std::stoi(step) + 1; s <= 9; ++s)
      EXPECT_EQ(world_->state("parts", s), world_->state("whole", s)) << "step " << s;
  }
  const auto whole = metrics("whole"), parts = metrics("parts");
  ASSERT_EQ(parts.size(), 9U);  // one line a step
  for (std::size_t i = 0; i < 9; ++i) {
    for (const char* key :
         {"step", "loss/mean", "optim/grad_norm", "optim/lr", "progress/num_samples", "progress/num_tokens"})
      EXPECT_EQ(parts[i][key], whole[i][key]);
  }
  // Nothing left to do: says so by ending well.
  EXPECT_EQ(world_->run(world_->sft("parts", with({"--max-steps", "9", "--ckpt.resume-step", "-1"}))).code,
            0);
  // Another configuration is allowed, and said.
  const auto other = world_->run(
      world_->sft("parts", {"--max-steps", "10", "--ckpt.resume-step", "-1", "--optim.weight-decay", "0.5"}));
  EXPECT_EQ(other.code, 0) << other.err;
  expect_has(other.err, {"the configuration is not the one"});
}

TEST_F(Sft, KeepLastAndKeepIntervalPruneCheckpointsAndWeights) {
  ASSERT_EQ(world_
                ->run(world_->sft("prune", {"--ckpt.interval", "1", "--ckpt.keep-last", "2",
                                            "--ckpt.keep-interval", "3", "--max-steps", "7"}))
                .code,
            0);
  for (const char* kind : {"checkpoints", "weights"}) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(*world_ / (std::string("prune/") + kind))) {
      if (entry.is_directory()) names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, (std::vector<std::string>{"step_3", "step_6", "step_7"})) << kind;
  }
}

TEST_F(Sft, AUsedDirectoryIsRefusedUnlessCleanOrResumed) {
  ASSERT_EQ(world_->run(world_->sft("used", {"--max-steps", "2"})).code, 0);
  const auto refused = world_->run(world_->sft("used"));
  EXPECT_EQ(refused.code, 2);
  expect_has(refused.err,
             {"error: output_dir", "was used by another run", "--clean", "--ckpt.resume-step -1"});
  EXPECT_EQ(world_->run(world_->sft("used", {"--dry-run"})).code, 2);
  EXPECT_EQ(world_->run(world_->sft("used", {"--dry-run", "--clean"})).code, 0);
  EXPECT_TRUE(fs::exists(*world_ / "used/checkpoints/step_2"));  // a dry run cleans nothing
  std::ofstream(*world_ / "used/notes.txt") << "mine";
  EXPECT_EQ(world_->run(world_->sft("used", {"--clean", "--max-steps", "3"})).code, 0);
  EXPECT_FALSE(fs::exists(*world_ / "used/checkpoints/step_2"));
  EXPECT_TRUE(fs::exists(*world_ / "used/notes.txt"));
}

TEST_F(Sft, CleanRemovesNothingThatNoRunWrote) {
  world_->file("mine/configs/mine.toml", "mine");
  world_->file("mine/weights/mine.bin", "mine");
  const auto refused = world_->run(world_->sft("mine", {"--clean"}));
  EXPECT_EQ(refused.code, 2);
  expect_has(refused.err, {"error: --clean removes nothing in output_dir", "configs/resolved.toml"});
  EXPECT_TRUE(fs::exists(*world_ / "mine/configs/mine.toml"));
  EXPECT_TRUE(fs::exists(*world_ / "mine/weights/mine.bin"));
  EXPECT_FALSE(fs::exists(*world_ / "mine/.lock"));
  for (const std::string dir : {"", ".", "/", "./"}) {
    auto words = world_->sft("x", {"--clean"});
    *std::find(words.begin(), words.end(), *world_ / "x") = dir;
    const auto o = world_->run(words);
    EXPECT_EQ(o.code, 2) << dir << o.err;
    expect_has(o.err, {"output_dir"});
  }
  // In the directory of a run, what others put beside its files stays.
  ASSERT_EQ(world_->run(world_->sft("half", {"--max-steps", "2", "--clean"})).code, 0);
  world_->file("half/configs/mine.toml", "mine");
  world_->file("half/weights/mine.bin", "mine");
  const auto again = world_->run(world_->sft("half", {"--max-steps", "1", "--clean"}));
  EXPECT_EQ(again.code, 0) << again.err;
  expect_has(again.err, {"--clean left what no run writes: weights/mine.bin"});
  EXPECT_TRUE(fs::exists(*world_ / "half/configs/mine.toml"));
  EXPECT_FALSE(fs::exists(*world_ / "half/weights/step_2"));
  EXPECT_EQ(metrics("half").size(), 1U);
}

TEST_F(Sft, SignalsFinishTheStepSaveAndSayHowToGoOn) {
  for (const auto& [signal, code, name] : {std::tuple{SIGTERM, 143, "SIGTERM"}, {SIGINT, 130, "SIGINT"}}) {
    const std::string out = std::string("signal") + name;
    const pid_t pid =
        world_->start(world_->sft(out, {"--max-steps", "1000000"}), *world_ / "o", *world_ / "e");
    for (int i = 0; i < 400 && slurp(*world_ / (out + "/metrics.jsonl")).empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    kill(pid, signal);
    EXPECT_EQ(SftWorld::wait_for(pid), code);
    const std::string text = slurp(*world_ / "o");
    expect_has(text, {std::string("stopped by ") + name, "checkpoint", "--ckpt.resume-step -1"});
    expect_has(slurp(*world_ / "e"),
               {std::string(name) + ": finishing this step, then saving; again to stop at once\n"});
    const auto last = metrics(out).back()["step"].get<int>();
    EXPECT_TRUE(fs::exists(*world_ / (out + "/checkpoints/step_" + std::to_string(last) + "/manifest.json")));
    const auto resumed =
        world_->run(world_->sft(out, {"--max-steps", std::to_string(last + 2), "--ckpt.resume-step", "-1"}));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(metrics(out).size(), static_cast<std::size_t>(last) + 2);
  }
}

TEST_F(Sft, WeightsThatAreNotReadAreNotReplacedByRandomOnes) {
  const std::string config = slurp(*world_ / "model/config.json");
  for (const char* name :
       {"pytorch_model.bin", "model.gguf", "consolidated.00.pth", "adapter_model.safetensors"}) {
    const std::string dir = *world_ / (std::string("odd-") + name);
    world_->file(std::string("odd-") + name + "/config.json", config);
    world_->file(std::string("odd-") + name + "/" + name, "x");
    world_->expect_refused(world_->sft("odd", {"--model.name", dir}), "odd",
                           {std::string("there is ") + name, "safetensors", "--model.debug.random-init"});
    const auto random =
        world_->run(world_->sft("odd", {"--model.name", dir, "--model.debug.random-init", "--dry-run"}));
    EXPECT_EQ(random.code, 0) << random.err;
  }
  world_->file("shardless/config.json", config);
  world_->file("shardless/model.safetensors.index.json",
               R"({"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}})");
  world_->expect_refused(world_->sft("odd", {"--model.name", *world_ / "shardless"}), "odd",
                         {"names files that are not there", "model-00001-of-00001.safetensors"});
}

TEST_F(Sft, ANonFiniteGradientIsSkippedThenStopsTheRun) {
  const auto once = world_->run(world_->sft("nan1", {"--fail", "train.gradient=nan:3"}));
  EXPECT_EQ(once.code, 0) << once.err;
  expect_has(once.err, {"step 3/6  skipped"});
  expect_has(once.out, {"steps skipped", "1 (not finite)"});
  EXPECT_TRUE(metrics("nan1")[2]["optim/grad_norm"].is_null());
  EXPECT_EQ(metrics("nan1")[2]["loss/nan_count"], 1);
  EXPECT_TRUE(fs::exists(*world_ / "nan1/nonfinite/nonfinite_step_3.json"));
  const auto stops =
      world_->run(world_->sft("nan2", {"--fail", "train.gradient=nan:*", "--max-nonfinite-steps", "2"}));
  EXPECT_EQ(stops.code, 1);
  expect_has(stops.err, {"step 2/6  skipped", "error: 2 steps in a row", "because last: step 2,",
                         "help:", "nonfinite_step_2.json", "saved in " + *world_ / "nan2/checkpoints/step_2",
                         "--ckpt.resume-step"});
  // Weights and moments are those of before the bad steps: here a run of one step, and none after it.
  ASSERT_EQ(world_->run(world_->sft("good1", {"--max-steps", "1"})).code, 0);
  const auto late = world_->run(world_->sft(
      "nan4", {"--max-steps", "3", "--max-nonfinite-steps", "1", "--fail", "train.gradient=nan:2"}));
  EXPECT_EQ(late.code, 1);
  EXPECT_EQ(world_->state("nan4", 2), world_->state("good1", 1));
  const auto on = world_->run(world_->sft("nan4", {"--max-steps", "3", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(on.code, 0) << on.err;
  EXPECT_EQ(metrics("nan4").size(), 3U);
  const auto none = world_->run(
      world_->sft("nan5", {"--no-ckpt", "--fail", "train.gradient=nan:*", "--max-nonfinite-steps", "2"}));
  EXPECT_EQ(none.code, 1);
  EXPECT_EQ(none.err.find("saved in"), std::string::npos) << none.err;
}

TEST_F(Sft, JsonResultIsJson) {
  const auto o = world_->run(world_->sft("json", {"--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json json = Json::parse(o.out);
  EXPECT_EQ(json["title"], "SFT finished");
  const Json& values = json["result"];
  EXPECT_EQ(values["steps"], 6);
  EXPECT_EQ(values["loss_first"], json["curves"]["loss"].front());
  EXPECT_EQ(values["loss_last"], json["curves"]["loss"].back());
  for (const char* key : {"loss_first", "loss_last", "tokens", "samples", "steps_skipped", "seconds"})
    EXPECT_TRUE(values[key].is_number()) << key;
  EXPECT_TRUE(fs::exists(values["curves"].get<std::string>()));
  EXPECT_EQ(json["curves"]["loss"].size(), 6U);
  EXPECT_EQ(json["next"].size(), 2U);
  const auto dry = world_->run(world_->sft("json-dry", {"--json", "--dry-run"}));
  ASSERT_EQ(dry.code, 0) << dry.err;
  const Json samples = Json::parse(dry.out)["samples"];
  ASSERT_EQ(samples.size(), 3U);
  for (const auto& sample : samples) {
    EXPECT_EQ(sample["ids"].size(), sample["mask"].size());
    EXPECT_GT(sample["trained"], 0);
  }
}

TEST_F(Sft, ShippedConfigurationsResolve) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(RLCPP_SOURCE "/configs/sft")) {
    const auto o = world_->run({"sft", "@", entry.path().string(), "--model.name", *world_ / "model",
                                "--tokenizer.name", *world_ / "tokenizer", "--data.name",
                                world_->dir().path(), "--data.seq-len", "64", "--val.data.name",
                                world_->dir().path(), "--output-dir", *world_ / "shipped", "--dry-run"});
    EXPECT_EQ(o.code, 0) << entry.path() << "\n" << o.err;
    ++files;
  }
  EXPECT_GE(files, 2);
}

TEST_F(Sft, FakeDataAndNoCheckpoints) {
  const auto o = world_->run(world_->sft("fake", {"--data.type", "fake", "--data.length", "variable",
                                                  "--data.input-ids", "random", "--no-ckpt"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_FALSE(fs::exists(*world_ / "fake/checkpoints"));
  EXPECT_FALSE(fs::exists(*world_ / "fake/weights"));
  expect_has(o.out, {"not saved: ckpt is None"});
}

TEST_F(Sft, BenchNeedsNoFilesAndLeavesNone) {
  const std::string json = *world_ / "bench.json";
  const auto o =
      world_->run({"sft", "--bench", "--bench.output-json", json, "--model.name", *world_ / "model",
                   "--data.seq-len", "64", "--data.batch-size", "2", "--output-dir", *world_ / "benchrun"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_FALSE(fs::exists(*world_ / "benchrun"));
  const Json result = Json::parse(slurp(json));
  EXPECT_GT(result["metrics"]["throughput"]["mean"].get<double>(), 0);
  EXPECT_EQ(result["config"]["type"], "sft");
}

// Ranks of one machine share its cores: together they have its peak once.
TEST_F(Sft, CpuRanksShareThePeakOfTheirMachine) {
  const auto bench = [&](int ranks) {
    const std::string json = *world_ / "peak.json";
    const auto o =
        world_->run({"sft", "--bench", "--bench.output-json", json, "--model.name", *world_ / "model",
                     "--data.seq-len", "64", "--data.batch-size", "2", "--max-steps", "2", "--device", "cpu",
                     "--dist.ranks", std::to_string(ranks)});
    EXPECT_EQ(o.code, 0) << o.err;
    return Json::parse(slurp(json));
  };
  // Both rates are measured, on a machine that others use: the nearest of a few pairs.
  double nearest = 1e9;
  for (int i = 0; i < 5 && nearest > 0.2; ++i) {
    const Json one = bench(1), two = bench(2);
    EXPECT_EQ(one["rlcpp"]["peak_source"].get<std::string>().find("among"), std::string::npos);
    EXPECT_NE(two["rlcpp"]["peak_source"].get<std::string>().find(" cores among 2 ranks, f32"),
              std::string::npos);
    const double ratio =
        2 * two["rlcpp"]["peak_tflops"].get<double>() / one["rlcpp"]["peak_tflops"].get<double>();
    nearest = std::min(nearest, std::abs(std::log(ratio)));
  }
  EXPECT_LT(nearest, 0.35);  // twice the machine would be 0.69
}

// 50 kills in the long tier, each at a random moment of start, step, save or prune. The run goes on from what
// it finds, and ends with the bits of the run that nobody killed.
TEST_F(Sft, KillsAtRandomMomentsLoseNothing) {
  const int kills = long_tier() ? 50 : 4;
  const int steps = long_tier() ? 40 : 12;
  const std::vector<std::string> options = {"--ckpt.interval",    "1", "--ckpt.keep-last", "2", "--max-steps",
                                            std::to_string(steps)};
  ASSERT_EQ(world_->run(world_->sft("unbroken", options)).code, 0);
  std::mt19937_64 rng(fresh_seed());
  int killed = 0, finished = 0;
  std::string out = "killed0";
  while (killed < kills) {
    auto words = options;
    const bool begun = fs::exists(*world_ / (out + "/checkpoints/latest"));
    if (begun) {
      words.insert(words.end(), {"--ckpt.resume-step", "-1"});
    } else {
      words.push_back("--clean");
    }
    const pid_t pid = world_->start(world_->sft(out, words), *world_ / "o", *world_ / "e");
    std::this_thread::sleep_for(std::chrono::microseconds(rng() % (10000 * static_cast<unsigned>(steps))));
    kill(pid, SIGKILL);
    const int code = SftWorld::wait_for(pid);
    ASSERT_TRUE(code == 137 || code == 0) << slurp(*world_ / "e");
    if (code == 137) {
      ++killed;
      continue;
    }
    EXPECT_EQ(world_->state(out, steps), world_->state("unbroken", steps));
    out = "killed" + std::to_string(++finished);
  }
  auto words = options;
  words.insert(words.end(),
               {fs::exists(*world_ / (out + "/checkpoints/latest")) ? "--ckpt.resume-step=-1" : "--clean"});
  const auto last = world_->run(world_->sft(out, words));
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(world_->state(out, steps), world_->state("unbroken", steps));
  const auto lines = metrics(out);
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(steps));
  const auto unbroken = metrics("unbroken");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"], i + 1);
    EXPECT_EQ(lines[i]["loss/mean"], unbroken[i]["loss/mean"]);
  }
}

// kill -9 at each named point of the commit protocol, on its first and second hit.
TEST_F(Sft, KillsAtEachPointOfTheCommitLoseNothing) {
  const std::vector<std::string> options = {"--ckpt.interval", "1", "--ckpt.keep-last", "1",
                                            "--max-steps",     "4"};
  ASSERT_EQ(world_->run(world_->sft("commit", options)).code, 0);
  int number = 0;
  for (const char* point :
       {"checkpoint.before_commit", "checkpoint.after_commit", "durable.commit.before_manifest",
        "durable.commit.before_rename", "durable.commit.after_rename"}) {
    for (const char* when : {"2", "1"}) {
      if (!long_tier() && *when == '1') continue;
      const std::string out = "commit" + std::to_string(++number);
      auto first = options;
      first.insert(first.end(), {"--fail", std::string(point) + "=kill:" + when});
      EXPECT_EQ(world_->run(world_->sft(out, first)).code, 137) << point;
      auto second = options;
      const bool saved = fs::exists(*world_ / (out + "/checkpoints/step_1"));
      second.insert(second.end(), {saved ? "--ckpt.resume-step=-1" : "--clean"});
      const auto o = world_->run(world_->sft(out, second));
      ASSERT_EQ(o.code, 0) << point << when << "\n" << o.err;
      EXPECT_EQ(world_->state(out, 4), world_->state("commit", 4)) << point << " " << when;
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
