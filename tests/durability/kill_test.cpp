// K1, K2, K4: kill -9 before and after every call that changes a disk, at random moments, and while a killed
// run is resumed. What goes on from the newest checkpoint ends with the bits of the run that nobody killed.
#include <random>
#include <sstream>

#include "app/rl_pair.h"
#include "app/sft_run.h"
#include "faults.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

// A world of sft with a base for adapters.
class KillWorld : public SftWorld {
 public:
  KillWorld() {
    const ProcessOutcome o = run(sft("base", {"--max-steps", "2"}));
    EXPECT_EQ(o.code, 0) << o.err;
  }
  // Of `steps`, each saved, one kept.
  Words words(bool lora, int ranks, const std::string& out, int steps) const {
    Words more = {"--ckpt.interval",  "1",
                  "--ckpt.keep-last", "1",
                  "--max-steps",      std::to_string(steps),
                  "--dist.ranks",     std::to_string(ranks)};
    if (lora) {
      more.insert(more.end(), {"--model.name", *this / "base/weights/step_2", "--model.lora.rank", "4",
                               "--model.lora.alpha", "16"});
    }
    return sft(out, more);
  }
};

// Kills the run before or after call `nth`, lets it go on, and compares. Returns false if the run was over
// before that call.
bool killed_at(const World& world, const std::function<Words(const std::string&)>& words,
               const std::string& when, std::size_t nth, int steps, const std::string& whole) {
  const std::string out = "killed";
  fs::remove_all(world / out);
  const ProcessOutcome first = run_with(world, {world / out, fmt::format("{}:{}", when, nth)}, words(out));
  EXPECT_TRUE(first.code == 137 || first.code == 0) << first.code << first.err;
  expect_whole_steps(world, out);
  if (first.code == 137) {
    const ProcessOutcome next = world.run(with_more(words(out), again(world, out)));
    EXPECT_EQ(next.code, 0) << next.err;
  }
  expect_same_end(world, out, whole, steps);
  return first.code == 137;
}

// Every call, or in the fast tier a few of them.
void every_call(const World& world, Tally& tally, const std::function<Words(const std::string&)>& words,
                int steps, std::size_t few, std::size_t every = 1) {
  const std::string whole = "whole";
  fs::remove_all(world / whole);
  const std::vector<std::string> calls = calls_of(world, whole, words(whole));
  ASSERT_GT(calls.size(), 20U);
  // Of the parts of the protocol none is missing.
  for (const char* part :
       {"manifest.json", "latest", ".trash-", "metrics.jsonl", "sync_directory", "tfevents"}) {
    EXPECT_TRUE(std::any_of(calls.begin(), calls.end(), [&](const std::string& call) {
      return call.find(part) != std::string::npos;
    })) << part;
  }
  const std::size_t stride = long_tier() ? every : std::max<std::size_t>(1, calls.size() / few);
  std::mt19937_64 rng(fresh_seed());
  int reached = 0;
  for (std::size_t n = 1 + rng() % stride; n <= calls.size(); n += stride) {
    for (const char* when : {"before", "after"}) {
      tally.run(fmt::format("{} {}", when, calls[n - 1]),
                [&] { reached += killed_at(world, words, when, n, steps, whole) ? 1 : 0; });
      if (tally.hopeless()) return;
    }
  }
  // Threads order calls as they like, so at the end a number may not come up; nearly all do.
  EXPECT_GT(reached, tally.count() * 9 / 10);
}

TEST(DurabilityKill, AtEveryCallOfAFullRun) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const KillWorld world;
  Tally tally("K1", "kill -9 before and after every call of `rlcpp sft`, full model", 60);
  every_call(
      world, tally, [&](const std::string& out) { return world.words(false, 1, out, 3); }, 3, 4);
}

TEST(DurabilityKill, AtEveryCallOfARunOfAdaptersOnTwoRanks) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const KillWorld world;
  Tally tally("K1", "the same, LoRA on two ranks", 60);
  every_call(
      world, tally, [&](const std::string& out) { return world.words(true, 2, out, 2); }, 2, 3);
}

TEST(DurabilityKill, AtEveryCallOfARunOfRl) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const RlWorld world;
  Tally tally("K1", "the same at every second call, `rlcpp rl` with pools, filters and two environments", 60);
  const auto words = [&](const std::string& out) {
    return world.rl(
        out, {"@", world / "all.toml", "--ckpt.interval", "1", "--ckpt.keep-last", "1", "--max-steps", "2"});
  };
  every_call(world, tally, words, 2, 3, 2);
}

// The pair of processes that exchange weights and rollouts as files.
class DurabilityPair : public Pair {
 protected:
  static Running start_with(const Faults& faults, const Words& words) {
    const WithFaults with(faults);
    return start(words);
  }
};

TEST_F(DurabilityPair, KilledAtCallsOfPublicationAndRollouts) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const Words t_all = {
      "@", *world_ / "trainer-all.toml", "--max-steps", "3", "--ckpt.interval", "1", "--ckpt.keep-last", "1"};
  const Words o_all = {"@", *world_ / "orch-all.toml", "--max-steps", "3"};
  const std::string t_log = *world_ / "trainer.calls", o_log = *world_ / "orchestrator.calls";
  {
    const Running t = start_with({*world_ / "pair", "", t_log}, trainer("pair", t_all));
    const Running o = start_with({*world_ / "pair", "", o_log}, orchestrator("pair", o_all));
    expect_both(t, o);
  }
  Tally tally(
      "K1", "the same, calls of `rlcpp trainer` and `rlcpp orchestrator`: publication, rollouts, buffer", 60);
  const auto lines = [](const std::string& path) {
    std::vector<std::string> out;
    std::istringstream text(slurp(path));
    for (std::string line; std::getline(text, line);) out.push_back(line);
    return out;
  };
  std::mt19937_64 rng(fresh_seed());
  int round = 0;
  for (const bool trains : {true, false}) {
    const std::vector<std::string> calls = lines(trains ? t_log : o_log);
    ASSERT_GT(calls.size(), 30U);
    const std::size_t cases = long_tier() ? 20 : 1;
    for (std::size_t i = 0; i < cases; ++i) {
      const std::size_t n = 1 + i * calls.size() / cases + rng() % (calls.size() / cases);
      for (const char* when : {"before", "after"}) {
        tally.run(
            fmt::format("{} {} of the {}", when, calls[n - 1], trains ? "trainer" : "orchestrator"), [&] {
              const std::string out = fmt::format("pair{}", ++round);
              const Faults faults{*world_ / out, fmt::format("{}:{}", when, n)};
              const Running t = trains ? start_with(faults, trainer(out, t_all)) : start(trainer(out, t_all));
              const Running o =
                  trains ? start(orchestrator(out, o_all)) : start_with(faults, orchestrator(out, o_all));
              const Running& dies = trains ? t : o;
              const Running& other = trains ? o : t;
              const int code = wait_for(dies.pid);
              EXPECT_TRUE(code == 137 || code == 0) << dies.errors();
              if (code == 137 && trains && !has_checkpoint(*world_, out)) {
                kill(other.pid, SIGKILL);
                other.wait();
                // The trainer first: until it has cleaned, the weights of the killed run are there to be
                // taken, which would be refused later.
                const Running next = start(trainer(out, with_more(t_all, {"--clean"})));
                for (int ms = 0; ms < 20000 && next.errors().find("data: rollouts of") == std::string::npos;
                     ms += 5)
                  std::this_thread::sleep_for(std::chrono::milliseconds(5));
                expect_both(next, start(orchestrator(out, with_more(o_all, {"--clean"}))));
              } else {
                if (code == 137) {
                  const Words more = {"--ckpt.resume-step", "-1"};
                  const Running next = start(trains ? trainer(out, with_more(t_all, more))
                                                    : orchestrator(out, with_more(o_all, more)));
                  EXPECT_EQ(wait_for(next.pid), 0) << next.errors();
                }
                EXPECT_EQ(wait_for(other.pid), 0) << other.errors();
              }
              expect_same_end(*world_, out, "pair", 3);
              fs::remove_all(*world_ / out);
            });
        if (tally.hopeless()) return;
      }
    }
  }
}

// Rows of each step, from a file that several processes have appended to; of a line that a kill cut short
// nothing is known.
std::map<int, std::vector<std::string>> rows_in(const std::string& path) {
  std::map<int, std::vector<std::string>> out;
  std::istringstream text(slurp(path));
  for (std::string line; std::getline(text, line);) {
    // A torn line and the next one may be one line.
    if (const auto at = line.rfind("{\"step\":"); at != std::string::npos && at > 0) line = line.substr(at);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object()) out[json.at("step").get<int>()].push_back(json.at("rows").dump());
  }
  return out;
}

TEST(DurabilityKill, AtRandomMomentsNoSampleIsSeenTwiceOrNever) {
  const KillWorld world;
  const std::uint64_t seed = fresh_seed();
  std::mt19937_64 rng(seed);
  const int kills = long_tier() ? 50 : 2, steps = long_tier() ? 12 : 6;
  Tally tally("K2", "kill -9 at random times, full and LoRA, one and two ranks; rows of each step compared",
              200);
  for (const bool lora : {false, true}) {
    for (const int ranks : {1, 2}) {
      const std::string name = fmt::format("{}{}", lora ? "lora" : "full", ranks);
      const auto dump = [&](const std::string& out) { return world / (out + ".rows"); };
      const auto words = [&](const std::string& out) {
        return with_more(world.words(lora, ranks, out, steps), {"--data.dump", dump(out)});
      };
      const std::string whole = name + "-whole";
      const auto begin = std::chrono::steady_clock::now();
      const ProcessOutcome o = world.run(words(whole));
      ASSERT_EQ(o.code, 0) << o.err;
      const std::chrono::duration<double, std::micro> length = std::chrono::steady_clock::now() - begin;
      const auto rows = rows_in(dump(whole));
      ASSERT_EQ(rows.size(), static_cast<std::size_t>(steps));
      int killed = 0, finished = 0;
      while (killed < kills && !tally.hopeless()) {
        const std::string out = fmt::format("{}-{}", name, ++finished);
        // Kills of one run until it ends; then it is compared.
        int here = 0, before = ::testing::Test::HasFailure() ? 1 : 0;
        for (bool ended = false; !ended;) {
          const pid_t pid = world.start(with_more(words(out), again(world, out)), world / "o", world / "e");
          if (killed + here < kills) {
            std::this_thread::sleep_for(
                std::chrono::microseconds(rng() % static_cast<std::uint64_t>(1.2 * length.count())));
            kill(pid, SIGKILL);
          }
          const int code = wait_for(pid);
          EXPECT_TRUE(code == 137 || code == 0) << "seed " << seed << ": " << code << slurp(world / "e");
          ended = code != 137;
          here += code == 137 ? 1 : 0;
          expect_whole_steps(world, out);
        }
        expect_same_end(world, out, whole, steps);
        const auto seen = rows_in(dump(out));
        EXPECT_EQ(seen.size(), rows.size());
        for (const auto& [step, list] : seen) {
          for (const std::string& row : list)
            EXPECT_EQ(row, rows.at(step).front()) << name << " step " << step;
        }
        killed += here;
        const bool bad = ::testing::Test::HasFailure() && before == 0;
        tally.add(bad ? 0 : here, bad ? here : 0);
        if (::testing::Test::HasFailure()) return;
        fs::remove_all(world / out);
      }
    }
  }
}

TEST(DurabilityKill, DuringTheResumeOfAKilledResume) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const KillWorld world;
  const std::uint64_t seed = fresh_seed();
  std::mt19937_64 rng(seed);
  const int steps = 4;
  Tally tally("K4", "kill -9 of a run, of its resume, and of the resume of that, at random calls", 30);
  for (int i = 0; i < (long_tier() ? 32 : 3); ++i) {
    const bool lora = i % 4 == 3;
    const std::string whole = lora ? "lora-whole" : "full-whole", out = fmt::format("deep{}", i);
    const auto words = [&](const std::string& name) { return world.words(lora, 1, name, steps); };
    if (!fs::exists(world / whole)) {
      ASSERT_EQ(world.run(words(whole)).code, 0);
    }
    tally.run(fmt::format("{} of seed {}", i, seed), [&] {
      // The first dies behind its first checkpoint, the others while they read it, clean up, or write anew.
      std::size_t nth = 60 + rng() % 60;
      for (int depth = 0; depth < 3; ++depth) {
        const std::string what = fmt::format("{}:{}", rng() % 2 == 0 ? "before" : "after", nth);
        const ProcessOutcome o = run_with(world, {world / out, what},
                                          with_more(words(out), depth == 0 ? Words{} : again(world, out)));
        EXPECT_EQ(o.code, 137) << what << " at depth " << depth << o.err;
        expect_whole_steps(world, out);
        nth = 1 + rng() % 30;
      }
      const ProcessOutcome o = world.run(with_more(words(out), again(world, out)));
      EXPECT_EQ(o.code, 0) << o.err;
      expect_same_end(world, out, whole, steps);
    });
    fs::remove_all(world / out);
  }
}

}  // namespace
}  // namespace rlcpp::test
