// V1: numbers that are wrong in one step, at twelve places. No update is made of them, the batch is kept, and
// the run skips the step or stops, as it was told.
#include <limits>

#include "app/sft_run.h"
#include "faults.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

TEST(DurabilityValues, AWrongNumberIsNeverLearned) {
  const SftWorld world;
  const int steps = 4;
  Tally tally("V1", "NaN, infinity and 1e4-fold values at 12 places of step 2: skipped (36) or stopped (24)",
              60);
  const auto words = [&](const std::string& out, const Words& more) {
    return world.sft(out, with_more({"--max-steps", std::to_string(steps), "--ckpt.interval", "1"}, more));
  };
  ASSERT_EQ(world.run(words("good", {})).code, 0);
  double largest = 0;
  for (const auto& line : world.metrics("good"))
    largest = std::max(largest, line["optim/grad_norm"].get<double>());
  const std::string limit = fmt::format("{}", 5 * largest);
  // What a run without step 2 is: its own gradient is never applied.
  ASSERT_EQ(world.run(words("without", {"--fail", "train.gradient=nan:2"})).code, 0);

  // Four rows a step, each a micro-batch; ten trained tensors, of which six are taken.
  struct Place {
    std::string point;
    int hit;
    bool learned = true;  // false: only what is reported of the step is made of it
  };
  std::vector<Place> places = {{"train.hidden", 6},          {"train.logprobs", 7, false},
                               {"train.hidden_gradient", 8}, {"train.gradient", 2},
                               {"train.loss", 2, false},     {"train.norm", 2}};
  const int tensors = 10;
  for (const int p : {2, 3, 6, 8, 9, 10}) places.push_back({"train.gradient.parameter", tensors + p});
  ASSERT_EQ(places.size(), 12U);
  int number = 0;
  for (const Place& place : places) {
    for (const std::string action : {"nan", "inf", "spike"}) {
      tally.run(fmt::format("{}={}:{} is skipped", place.point, action, place.hit), [&] {
        const std::string out = fmt::format("skip{}", ++number);
        const ProcessOutcome o =
            world.run(words(out, {"--optim.skip-norm", limit, "--fail",
                                  fmt::format("{}={}:{}", place.point, action, place.hit)}));
        EXPECT_EQ(o.code, 0) << o.err;
        // A wrong log-probability or loss makes no wrong gradient; 1e4 times of it is a number like others.
        const bool harmless = action == "spike" && !place.learned;
        EXPECT_EQ(o.err.find(fmt::format("step 2/{}  skipped", steps)) == std::string::npos, harmless)
            << o.err;
        EXPECT_TRUE(world.state(out, steps) == world.state(harmless ? "good" : "without", steps));
        const std::string dump = world / (out + "/nonfinite/nonfinite_step_2.json");
        EXPECT_EQ(fs::exists(dump), !harmless);
        if (!harmless) {
          const auto kept = nlohmann::json::parse(slurp(dump));
          EXPECT_EQ(kept["micro_batches"].size(), 4U);
          EXPECT_FALSE(kept["micro_batches"][0]["ids"].empty());
        }
        fs::remove_all(world / out);
      });
      if (tally.hopeless()) return;
      if (action == "spike") continue;
      tally.run(fmt::format("{}={}:{} stops", place.point, action, place.hit), [&] {
        const std::string out = fmt::format("stop{}", ++number);
        const ProcessOutcome o =
            world.run(words(out, {"--max-nonfinite-steps", "1", "--fail",
                                  fmt::format("{}={}:{}", place.point, action, place.hit)}));
        EXPECT_EQ(o.code, 1) << o.err;
        expect_has(o.err, {"error: 1 steps in a row had a loss or gradient that is not finite",
                           "nonfinite_step_2.json", "saved in " + world / (out + "/checkpoints/step_2")});
        // The state that is saved is that of before.
        EXPECT_TRUE(world.state(out, 2) == world.state("good", 1));
        EXPECT_FALSE(fs::exists(world / (out + "/checkpoints/step_3")));
        const ProcessOutcome on = world.run(words(out, {"--ckpt.resume-step", "-1"}));
        EXPECT_EQ(on.code, 0) << on.err;
        EXPECT_TRUE(world.state(out, steps) == world.state("without", steps));
        fs::remove_all(world / out);
      });
      if (tally.hopeless()) return;
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
