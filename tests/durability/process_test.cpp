// P1: a run that is killed leaves nobody behind, and many that start at once keep apart. The processes that a
// run starts are the relay of Weights & Biases and, under mpirun, its ranks; the server that it has is the
// one for Prometheus.
#include <random>
#include <regex>
#include <set>

#include "app/mpi_run.h"
#include "faults.h"
#include "hub/http.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

// Processes, zombies aside, that have `text` among their words.
std::vector<std::string> living(const std::string& text) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos || std::stoi(name) == getpid()) continue;
    std::string words = slurp(entry.path() / "cmdline");
    std::replace(words.begin(), words.end(), '\0', ' ');
    if (words.find(text) != std::string::npos) found.push_back(name + ": " + words.substr(0, 200));
  }
  return found;
}

// Within two seconds, or whatever `seconds` says.
void expect_nobody_left(const std::string& text, double seconds = 2) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::vector<std::string> left = living(text);
  while (!left.empty() && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    left = living(text);
  }
  EXPECT_TRUE(left.empty()) << left.size() << " left, the first is " << left.front();
}

std::set<std::string> shared_memory() {
  std::set<std::string> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("rlcpp-test-")) out.insert(name);
  }
  return out;
}

constexpr const char* kWandb = R"(
class Run:
    id = "id7"
    url = "http://wandb.example/id7"
    def log(self, values, step): pass
    def finish(self, exit_code): pass
def init(**options):
    return Run()
)";

TEST(DurabilityProcesses, AKilledRunLeavesNobodyBehind) {
  if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "the relay needs python3";
  const MpiWorld world;
  world.file("fake/wandb.py", kWandb);
  Tally tally("P1", "kill -9 of a run with a relay, at random times; of mpirun with two ranks", 100);
  const std::uint64_t seed = fresh_seed();
  std::mt19937_64 rng(seed);
  const std::set<std::string> shm = shared_memory();
  for (int i = 0; i < (long_tier() ? 90 : 3); ++i) {
    tally.run(fmt::format("relay {} of seed {}", i, seed), [&] {
      const std::string out = fmt::format("killed{}", i);
      setenv("PYTHONPATH", (world / "fake").c_str(), 1);
      const pid_t pid =
          world.start(world.sft(out, {"--wandb.offline", "--max-steps", "1000000", "--no-ckpt"}), world / "o",
                      world / "e");
      unsetenv("PYTHONPATH");
      // A part of them before the relay has answered.
      std::this_thread::sleep_for(std::chrono::milliseconds(rng() % 400));
      kill(pid, SIGKILL);
      EXPECT_EQ(wait_for(pid), 137) << slurp(world / "e");
      expect_nobody_left(world / out);
      fs::remove_all(world / out);
    });
    if (tally.hopeless()) return;
  }
  for (int i = 0; i < (long_tier() && no_mpi().empty() ? 10 : 0); ++i) {
    tally.run(fmt::format("mpirun {} of seed {}", i, seed), [&] {
      const std::string out = fmt::format("ranks{}", i);
      const Words words = world.sft(out, {"--max-steps", "1000000", "--no-ckpt"});
      const pid_t pid = start_mpi({words, words}, world / "o", world / "e");
      if (i % 2 == 0) world.wait_for_content(out + "/metrics.jsonl");
      std::this_thread::sleep_for(std::chrono::milliseconds(rng() % 500));
      kill(pid, SIGKILL);
      EXPECT_EQ(wait_for(pid), 137) << slurp(world / "e");
      expect_nobody_left(world / out, 10);  // they hear of it from each other, not from the system
      fs::remove_all(world / out);
    });
    if (tally.hopeless()) return;
  }
  // What MPI itself leaves there when it is killed is not ours to remove.
  for (const std::string& name : shared_memory())
    EXPECT_TRUE(shm.contains(name) || name.find("rlcpp") == std::string::npos) << name;
}

// All at once on one machine: each has a port of its own and answers for itself.
TEST(DurabilityProcesses, ManyAtOnceKeepApart) {
  const SftWorld world;
  const int count = long_tier() ? 50 : 6;
  Tally tally("P1", "runs with a server for Prometheus started at once; each answers for itself", 50);
  struct One {
    pid_t pid = 0;
    std::string name, rate, url;
  };
  std::vector<One> all;
  for (int i = 0; i < count; ++i) {
    One one{0, fmt::format("server{}", i), fmt::format("{:.3e}", 1e-3 * (1 + i)), ""};
    one.pid = world.start(world.sft(one.name, {"--metrics-server.port", "0", "--metrics-server.host",
                                               "127.0.0.1", "--max-steps", "100000000", "--no-ckpt",
                                               "--optim.lr", one.rate, "--scheduler.warmup-steps", "0"}),
                          world / (one.name + ".out"), world / (one.name + ".err"));
    all.push_back(one);
  }
  const std::regex address("gauges at (http://127.0.0.1:[0-9]+)/metrics"),
      gauge("\ntrainer_learning_rate ([-+.e0-9]+)\n");
  std::set<std::string> urls;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(90);
  for (One& one : all) {
    tally.run(one.name, [&] {
      std::smatch found;
      std::string page;
      while (!std::regex_search(page, found, gauge) && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        const std::string log = slurp(world / (one.name + ".err"));
        std::smatch where;
        if (!std::regex_search(log, where, address)) continue;
        one.url = where[1];
        hub::HttpRequest request;
        request.url = one.url + "/metrics";
        try {
          hub::http_text(request, page, 1 << 20);
        } catch (const Error&) {  // so many share the cores: asked again
        }
      }
      if (!std::regex_search(page, found, gauge)) {
        ADD_FAILURE() << one.name << " did not answer: " << slurp(world / (one.name + ".err"));
        return;
      }
      EXPECT_NEAR(std::stod(found[1]), std::stod(one.rate), 1e-9) << one.name << " answers for another run";
      EXPECT_TRUE(urls.insert(one.url).second) << one.url << " is there twice";
    });
  }
  for (const One& one : all) kill(one.pid, SIGKILL);
  for (const One& one : all) EXPECT_EQ(wait_for(one.pid), 137);
  expect_nobody_left(world.dir().path());
}

}  // namespace
}  // namespace rlcpp::test
