// Environments of several turns, and echo, which trains what they say: `rlcpp rl`, and trainer and
// orchestrator apart.
#include "rl_pair.h"

namespace rlcpp::test {
namespace {

class Turns : public Pair {
 protected:
  static void SetUpTestSuite() {
    Pair::SetUpTestSuite();
    std::string config = kTinyModel;
    const std::string positions = "\"max_position_embeddings\": 128";
    config.replace(config.find(positions), positions.size(), "\"max_position_embeddings\": 1024");
    world_->file("long/config.json", config);
    const std::string shared =
        fmt::format("model.name = \"{0}/long\"\ntokenizer.name = \"{0}/tokenizer\"\n", world_->dir().path());
    const auto sampling = [](const std::string& prefix) {
      return fmt::format(R"([{0}sampling]
max_tokens = 12
[[{0}env]]
id = "alphabet-sort"
args = {{ min_turns = 2, max_names_per_turn = 1, similarity_power = 1, size = 40, holdout = 4 }}
[{0}advantage]
type = "echo"
roles.user.alpha = 0.5
)",
                         prefix);
    };
    const std::string sizes = "batch_size = 8\nseq_len = 700\n";
    world_->file("turns.toml", shared + "[orchestrator]\noversampling_factor = 2.0\n" + sizes +
                                   sampling("orchestrator.") +
                                   "[inference]\nmax_sequences = 64\nmax_batch_tokens = 64\n"
                                   "[trainer.model]\nseq_len = 1400\n[trainer.optim]\nlr = 1e-2\n");
    world_->file("turns-orch.toml", shared + "oversampling_factor = 2.0\nrow_tokens = 1400\n" + sizes +
                                        sampling("") +
                                        "[inference]\nmax_sequences = 64\nmax_batch_tokens = 64\n");
    world_->file("turns-trainer.toml", shared + "model.seq_len = 1400\noptim.lr = 1e-2\n");
    const auto made = world_->run(world_->rl("turns", options()));
    EXPECT_EQ(made.code, 0) << made.err;
  }
  static Words options() {
    return {"@",
            *world_ / "turns.toml",
            "--ckpt.interval",
            "1",
            "--max-steps",
            "6",
            "--orchestrator.val.num-examples",
            "2",
            "--orchestrator.val.interval",
            "3"};
  }
};

TEST_F(Turns, EchoLearnsWhatTheEnvironmentSays) {
  const auto lines = world_->metrics("turns");
  std::vector<Json> steps;
  for (const Json& line : lines) {
    if (line["step"] > 0) steps.push_back(line);
  }
  ASSERT_EQ(steps.size(), 6U);
  for (const Json& line : steps) {
    EXPECT_GE(line["num_turns/min"], 1.0);
    EXPECT_GT(line["num_turns/mean"], 1.0);
    EXPECT_LE(line["num_turns/max"], 3.0);
    EXPECT_EQ(line["mismatch_kl/max"], 0.0);  // later turns too: the engine's bits are the trainer's
    EXPECT_EQ(line["error/mean"], 0.0);
    EXPECT_GT(line["optim/grad_norm"], 0.0);
  }
  EXPECT_NEAR(steps[0]["nll/mean"], std::log(320.0), 0.7);  // nothing is known yet
  EXPECT_LT(steps[5]["nll/mean"], steps[0]["nll/mean"].get<double>() - 0.5);
}

// The log is whole: responses and replies are where it says, and only what was sampled has a log-probability.
TEST_F(Turns, TheRolloutLogShowsAllTurns) {
  std::istringstream file(slurp(*world_ / "turns/rollouts/step_2.jsonl"));
  int several = 0;
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text);
    const auto turns = line["num_turns"].get<std::size_t>();
    const auto logprobs = line["logprobs"].get<std::vector<double>>();
    ASSERT_EQ(logprobs.size(), line["completion_ids"].size());
    EXPECT_LE(line["prompt_len"].get<int>() + line["completion_len"].get<int>(), 700);
    if (turns == 1) continue;
    ++several;
    ASSERT_EQ(line["turns"].size(), turns);
    std::vector<bool> sampled(logprobs.size(), false);
    for (std::size_t turn = 0; turn < turns; ++turn) {
      const Json& one = line["turns"][turn];
      for (auto t = one["sampled"][0].get<std::size_t>(); t < one["sampled"][1]; ++t) sampled[t] = true;
      EXPECT_LE(one["sampled"][1].get<int>() - one["sampled"][0].get<int>(), 12);
      EXPECT_EQ(one["reply"].size(), turn + 1 < turns ? 1U : 0U);
      if (turn + 1 < turns) {
        const auto said = one["reply"][0]["content"].get<std::string>();
        EXPECT_NE(line["completion"].get<std::string>().find("<|im_start|>user\n" + said + "<|im_end|>"),
                  std::string::npos);
      }
    }
    for (std::size_t t = 0; t < sampled.size(); ++t) EXPECT_EQ(logprobs[t] != 0, sampled[t]) << t;
  }
  EXPECT_GT(several, 0);
}

TEST_F(Turns, AResumedRunGoesOnWithTheSameBits) {
  ASSERT_EQ(world_->run(world_->rl("parts", options())).code, 0);
  const auto o = world_->run(world_->rl("parts", plus(options(), {"--ckpt.resume-step", "2"})));
  ASSERT_EQ(o.code, 0) << o.err;
  world_->expect_same_run("parts", "turns", 6);
}

TEST_F(Turns, TwoProcessesDoWhatOneDoes) {
  ASSERT_EQ(world_->run(world_->rl("short", {"@", *world_ / "turns.toml", "--max-steps", "3"})).code, 0);
  const Running t = start(trainer("short-pair", {"@", *world_ / "turns-trainer.toml", "--max-steps", "3"}));
  const Running o = start(orchestrator("short-pair", {"@", *world_ / "turns-orch.toml", "--max-steps", "3"}));
  expect_both(t, o);
  expect_is("short-pair", "short", 3);
}

// What is never trained is never learnt: with all but the first letter of a line left out, there are fewer
// tokens of text, and nothing else of the first step changes.
TEST_F(Turns, EchoLeavesOutWhatItsFilterNames) {
  const std::string key = "--orchestrator.advantage.filter.";
  ASSERT_EQ(world_
                ->run(world_->rl("filtered", {"@", *world_ / "turns.toml", "--max-steps", "1", key + "drop",
                                              R"(["(?<=.).", "
"])"}))
                .code,
            0);
  const auto first = [&](const std::string& run) {
    for (const Json& line : world_->metrics(run)) {
      if (line["step"] == 1) return line;
    }
    return Json();
  };
  const Json some = first("filtered"), all = first("turns");
  EXPECT_EQ(some["reward/mean"], all["reward/mean"]);
  EXPECT_GT(some["nll/mean"], 0.0);
  EXPECT_NE(some["nll/mean"], all["nll/mean"]);
  for (const auto& [words, said] : std::vector<std::pair<Words, Words>>{
           {{key + "import_path", "filters.warnings"}, {"advantage.filter.drop", "no Python"}},
           {{key + "drop", "[\"(\"]"}, {"orchestrator.advantage.filter.drop", "does not compile"}},
           {{key + "drop", "[]"}, {"orchestrator.advantage.filter has no pattern"}}}) {
    const auto o = world_->run(world_->rl("bad", plus({"@", *world_ / "turns.toml", "--dry-run"}, words)));
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, said);
  }
}

TEST_F(Turns, EchoWithoutAnythingToTrainIsRefused) {
  const Words tool = {"@", *world_ / "turns.toml", "--no-orchestrator.advantage.roles.user", "--dry-run"};
  auto o = world_->run(world_->rl("tool", tool));
  EXPECT_EQ(o.code, 2);
  expect_has(o.err,
             {"echo", "the roles: tool", "answer as: user", "orchestrator.advantage.roles.user.alpha"});
  o = world_->run(world_->rl("single", {"--orchestrator.advantage.type", "echo", "--dry-run"}));
  EXPECT_EQ(o.code, 2);
  expect_has(o.err, {"they have one turn"});
}

}  // namespace
}  // namespace rlcpp::test
