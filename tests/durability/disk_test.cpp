// E1, E3, E4: disks that refuse, that are full for a while, and that are slow.
#include <cmath>
#include <cstring>
#include <random>

#include "app/sft_run.h"
#include "faults.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Of a list of calls that the shim wrote, the one with the number: its name and paths; empty if it is not
// there.
std::string call_in(const std::string& log, std::size_t number) {
  std::istringstream text(slurp(log));
  const std::string begin = fmt::format("{} ", number);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(begin)) return line.substr(begin.size());
  }
  return {};
}

// The calls that fail: all; every second one where all that follow fail too; in the fast tier, one of each
// kind.
std::vector<std::size_t> numbers_of(const std::vector<std::string>& calls, bool sticky,
                                    std::mt19937_64& rng) {
  std::vector<std::size_t> all;
  if (long_tier()) {
    for (std::size_t n = sticky ? 1 + rng() % 2 : 1; n <= calls.size(); n += sticky ? 2 : 1) all.push_back(n);
    return all;
  }
  std::map<std::string, std::vector<std::size_t>> by_name;
  for (std::size_t n = 1; n <= calls.size(); ++n) {
    const std::string rest = calls[n - 1].substr(calls[n - 1].find(' ') + 1);
    by_name[rest.substr(0, rest.find(' '))].push_back(n);
  }
  for (const auto& [name, numbers] : by_name) all.push_back(numbers[rng() % numbers.size()]);
  return all;
}

// E1: call N fails, N = 1, 2, ... until the run is clean; once, and for ever after.
TEST(DurabilityDisk, TheNthCallFails) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const SftWorld world;
  const int steps = 2;
  const auto words = [&](const std::string& out) {
    return world.sft(out, {"--ckpt.interval", "1", "--ckpt.keep-last", "1", "--no-ckpt.weights",
                           "--max-steps", std::to_string(steps)});
  };
  const std::vector<std::string> calls = calls_of(world, "whole", words("whole"));
  ASSERT_GT(calls.size(), 60U);
  struct Failure {
    std::string name, what;
    int error;  // 0: the product goes on as if nothing had happened
  };
  const std::vector<Failure> kinds = {{"EIO", "5", EIO},         {"ENOSPC", "28", ENOSPC},
                                      {"EDQUOT", "122", EDQUOT}, {"EROFS", "30", EROFS},
                                      {"EMFILE", "24", EMFILE},  {"short write", "short", 0},
                                      {"EINTR", "eintr", 0}};
  Tally tally("E1",
              "the Nth call of a run fails: EIO, ENOSPC, EDQUOT, EROFS, EMFILE, short write, EINTR; once and "
              "for good",
              900);
  std::mt19937_64 rng(fresh_seed());
  for (const Failure& kind : kinds) {
    for (const bool sticky : {false, true}) {
      for (const std::size_t n : numbers_of(calls, sticky, rng)) {
        tally.run(fmt::format("{}{} at {}", kind.name, sticky ? " from here on" : "", calls[n - 1]), [&] {
          const std::string out = "refused";
          fs::remove_all(world / out);
          const std::string log = world / "refused.calls";
          fs::remove(log);
          const ProcessOutcome o = run_with(
              world, {world / out, fmt::format("{}:{}{}", kind.what, n, sticky ? "+" : ""), log}, words(out));
          expect_whole_steps(world, out);
          // Threads order calls as they like, so at the very end the number may not come up. The last call
          // lets the lock go, which the system does whatever it says.
          const std::string call = call_in(log, n);
          if (kind.error == 0 || call.empty() || (call.starts_with("close ") && call.ends_with("/.lock"))) {
            EXPECT_EQ(o.code, 0) << o.err;
            return expect_same_end(world, out, "whole", steps);
          }
          EXPECT_EQ(o.code, 3) << o.err;
          expect_has(o.err, {"error: ", world / out, std::strerror(kind.error), "help: "});
          // After the fault: what is there is continued, or the run is repeated.
          const ProcessOutcome next = world.run(with_more(words(out), again(world, out)));
          EXPECT_EQ(next.code, 0) << next.err;
          expect_same_end(world, out, "whole", steps);
        });
        if (tally.hopeless()) return;
      }
    }
  }
}

// A model whose checkpoint is large beside everything else that a run writes.
class Larger : public SftWorld {
 public:
  Larger() {
    std::string config = kTinyModel;
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{"\"hidden_size\": 16", "\"hidden_size\": 128"},
          {"\"intermediate_size\": 24", "\"intermediate_size\": 256"},
          {"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 4"}}) {
      const auto at = config.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      config.replace(at, from.size(), to);
    }
    file("larger/config.json", config);
  }
  Words words(const std::string& out, int steps, int interval) const {
    return sft(out, {"--model.name", *this / "larger", "--ckpt.interval", std::to_string(interval),
                     "--ckpt.keep-last", "1", "--max-steps", std::to_string(steps)});
  }
};

// Runs `rlcpp` on a file system of its own, with `free` bytes that become 64 MiB more after `seconds`; <out>
// is copied to <world>/<copy> at the end.
pid_t start_on_small_disk(const World& world, const std::string& copy, std::uint64_t free, double seconds,
                          const Words& words) {
  constexpr std::uint64_t kBallast = std::uint64_t{64} << 20;
  const std::string mount = world / (copy + ".disk");
  fs::create_directories(mount);
  // In order: mount and ballast first, then the timer beside the run.
  std::string command = fmt::format(
      "mount -t tmpfs -o size={0} none '{1}' && head -c {2} /dev/zero >'{1}/ballast' || exit 99\n"
      "(sleep {3}; rm '{1}/ballast') </dev/null >/dev/null 2>&1 &\n",
      kBallast + free, mount, kBallast, seconds);
  command += "'" RLCPP_BINARY "'";
  for (const std::string& word : words) command += " '" + word + "'";
  command +=
      fmt::format("\ncode=$?\n[ -d '{0}/out' ] && cp -r '{0}/out' '{1}'\nexit $code\n", mount, world / copy);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  dup2(open((world / (copy + ".out")).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDOUT_FILENO);
  dup2(open((world / (copy + ".err")).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), STDERR_FILENO);
  execlp("unshare", "unshare", "-Urmpf", "--kill-child", "sh", "-c", command.c_str(), nullptr);
  _exit(127);
}

// E3: room for less than two checkpoints. Refused at the start, or waited for until it comes.
TEST(DurabilityDisk, AFullDiskIsRefusedAtTheStartOrWaitedFor) {
  const Larger world;
  const int steps = 4;
  ASSERT_EQ(world.run(world.words("whole", steps, 2)).code, 0);
  std::uint64_t checkpoint = 0;
  for (const char* part : {"checkpoints", "weights"}) {
    for (const auto& entry :
         fs::recursive_directory_iterator(world / fmt::format("whole/{}/step_{}", part, steps)))
      checkpoint += entry.is_regular_file() ? entry.file_size() : 0;
  }
  ASSERT_GT(checkpoint, 4U << 20U);
  {
    const pid_t pid = start_on_small_disk(world, "probe", 0, 0, {"--version"});
    if (const int code = wait_for(pid); code != 0)
      GTEST_SKIP() << "no file system of one's own can be mounted here: " << slurp(world / "probe.err");
  }
  Tally tally(
      "E3",
      "room for a part of two checkpoints, which returns after 20 s: refused at the start, then waited for",
      20);
  std::mt19937_64 rng(fresh_seed());
  const double seconds = long_tier() ? 20 : 2;
  const int cases = long_tier() ? 20 : 1, at_once = 10;
  for (int first = 0; first < cases; first += at_once) {
    struct Case {
      std::string name;
      double share;
      pid_t refused = 0, waits = 0;
      std::chrono::steady_clock::time_point begin;
    };
    std::vector<Case> running;
    for (int i = first; i < std::min(cases, first + at_once); ++i) {
      // One and a half checkpoints, or some other part of the two that are wanted.
      Case c{fmt::format("full{}", i),
             i % 2 == 0 ? 1.5 : 0.1 + static_cast<double>(rng() % 180) / 100,
             0,
             0,
             {}};
      // Beside them there is room for the small files; pages and the log take some.
      const auto free = static_cast<std::uint64_t>(c.share * static_cast<double>(checkpoint)) + (64U << 10U);
      const auto words = [&](const std::string& copy) {
        Words all = world.words("out", steps, 2);
        *std::find(all.begin(), all.end(), world / "out") = world / (copy + ".disk/out");
        return all;
      };
      c.refused = start_on_small_disk(world, c.name + "r", free, 3600, words(c.name + "r"));
      c.begin = std::chrono::steady_clock::now();
      c.waits = start_on_small_disk(world, c.name + "w", free, seconds,
                                    with_more(words(c.name + "w"), {"--ckpt.on-disk-full", "wait"}));
      running.push_back(c);
    }
    for (const Case& c : running) {
      tally.run(fmt::format("{} with room for {} checkpoints", c.name, c.share), [&] {
        EXPECT_EQ(wait_for(c.refused, 60), 3) << slurp(world / (c.name + "r.err"));
        expect_has(slurp(world / (c.name + "r.err")),
                   {"error: the checkpoints of this run do not fit on the disk", "two checkpoints need",
                    "--ckpt.on-disk-full wait"});
        EXPECT_FALSE(fs::exists(world / (c.name + "r/checkpoints")));
        EXPECT_EQ(wait_for(c.waits, 120), 0) << slurp(world / (c.name + "w.err"));
        EXPECT_GE(seconds_since(c.begin), seconds);
        expect_has(slurp(world / (c.name + "w.err")), {"the run will wait for room (ckpt.on_disk_full)",
                                                       "No space left on device", "waiting for room"});
        expect_same_end(world, c.name + "w", "whole", steps);
        fs::remove_all(world / (c.name + "w"));
      });
    }
  }
}

// E4: a disk that takes half a minute for one sync, and reads of 1 MB/s.
TEST(DurabilityDisk, ASlowDiskHoldsNobodyUpForLongerThanItMust) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const Larger world;
  const int steps = 12, interval = 6;
  const std::vector<std::string> calls = calls_of(world, "whole", world.words("whole", steps, interval));
  // Syncs of files are counted by the shim too: those of the first checkpoint are wanted.
  std::vector<int> wanted;
  int number = 0;
  for (const std::string& call : calls) {
    if (call.find(" fsync ") == std::string::npos && call.find(" fdatasync ") == std::string::npos) continue;
    ++number;
    if (call.find(fmt::format("step_{}.tmp-", interval)) != std::string::npos) wanted.push_back(number);
  }
  ASSERT_GE(wanted.size(), 4U);
  const double late = long_tier() ? 30 : 2;
  Tally tally("E4",
              "one fsync of a background checkpoint is 30 s late (6 cases); a resume reads 1 MB/s (4 cases)",
              10);
  std::mt19937_64 rng(fresh_seed());
  struct Case {
    std::string name;
    pid_t pid = 0;
    std::chrono::steady_clock::time_point begin;
  };
  std::vector<Case> slow_syncs;
  for (int i = 0; i < (long_tier() ? 6 : 1); ++i) {
    Case c{fmt::format("late{}", i), 0, std::chrono::steady_clock::now()};
    const WithFaults with({world / c.name, fmt::format("sync({}):{}", static_cast<int>(1000 * late),
                                                       wanted[rng() % wanted.size()])});
    c.pid = world.start(world.words(c.name, steps, interval), world / (c.name + ".out"),
                        world / (c.name + ".err"));
    slow_syncs.push_back(c);
  }
  for (const Case& c : slow_syncs) {
    tally.run(c.name, [&] {
      EXPECT_EQ(wait_for(c.pid), 0) << slurp(world / (c.name + ".err"));
      EXPECT_GE(seconds_since(c.begin), late);
      expect_same_end(world, c.name, "whole", steps);
      // Training went on beside the disk: the steps behind the save are those of an instant.
      const auto lines = world.metrics(c.name);
      ASSERT_EQ(lines.size(), static_cast<std::size_t>(steps));
      EXPECT_LT(lines.back()["time"].get<double>() - lines[interval - 1]["time"].get<double>(), late / 2);
      for (const auto& line : lines) EXPECT_LT(line["time/save_ckpt"].get<double>(), late / 2);
      EXPECT_EQ(slurp(world / (c.name + ".err")).find("gave up"), std::string::npos);
    });
  }
  // Half the run there already; the rest reads its checkpoint slowly.
  const std::uint64_t bytes =
      fs::file_size(world / "whole/checkpoints/step_12/trainer/weights.safetensors") * 3;
  for (int i = 0; i < (long_tier() ? 4 : 0); ++i) {
    const std::string out = fmt::format("reads{}", i);
    const Words ranks = {"--dist.ranks", std::to_string(1 + i % 2)};
    if (i % 2 == 1) {
      EXPECT_EQ(world.run(with_more(world.words("whole2", steps, interval), ranks)).code, 0);
    }
    EXPECT_EQ(world.run(with_more(world.words(out, interval, interval), ranks)).code, 0);
    tally.run(out, [&] {
      const auto begin = std::chrono::steady_clock::now();
      const ProcessOutcome o = run_with(
          world, {world / out, "", "", "", "1000000"},
          with_more(world.words(out, steps, interval), with_more(ranks, {"--ckpt.resume-step", "-1"})));
      EXPECT_EQ(o.code, 0) << o.err;
      // Several threads read, each at that rate.
      EXPECT_GT(seconds_since(begin), static_cast<double>(bytes) / 1e6 / 9);
      EXPECT_EQ(o.err.find("gave up"), std::string::npos) << o.err;
      expect_same_end(world, out, i % 2 == 1 ? "whole2" : "whole", steps);
      fs::remove_all(world / "whole2");
    });
  }
}

}  // namespace
}  // namespace rlcpp::test
