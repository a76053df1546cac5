// CPU ranks in several processes, started by mpirun; skipped where there is no MPI.
#include <algorithm>
#include <filesystem>
#include <regex>

#include "processes.h"
#include "ranks.h"

namespace rlcpp::dist {
namespace {

std::string mpirun() {
  for (const char* place : {"/usr/bin/mpirun", "/usr/local/bin/mpirun", "/opt/openmpi/bin/mpirun"}) {
    if (std::filesystem::exists(place)) return place;
  }
  return "";
}

class MpiRanks : public testing::Test {
 protected:
  void SetUp() override {
    if (RLCPP_HAS_MPI == 0) GTEST_SKIP() << "this build found no MPI (mpi.h)";
    if (mpirun().empty()) GTEST_SKIP() << "mpirun is not installed";
    if (!test::long_tier()) GTEST_SKIP() << "long tier";
  }
  std::unique_ptr<Process> start(int ranks, std::vector<std::string> arguments, const std::string& log) {
    std::vector<std::string> command = {mpirun(), "--oversubscribe"};
    if (::getuid() == 0) command.emplace_back("--allow-run-as-root");
    command.insert(command.end(), {"-n", std::to_string(ranks), rank_program()});
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.insert(command.end(), {"--carrier", "auto", "--plugin", RLCPP_MPI_PLUGIN});
    // On few cores the ranks must not spin against each other.
    return std::make_unique<Process>(command, Process::Variables{{"OMPI_MCA_mpi_yield_when_idle", "1"}}, log);
  }
};

// "rank N DIGEST" of every rank, without the carrier. mpirun mixes what ranks and it itself print, so a
// digest need not begin a line.
std::vector<std::string> lines_of(const std::string& text) {
  static const std::regex digest("rank [0-9]+ [0-9a-f]{16}");
  std::vector<std::string> lines;
  for (std::sregex_iterator it(text.begin(), text.end(), digest), end; it != end; ++it)
    lines.push_back(it->str());
  std::sort(lines.begin(), lines.end());
  return lines;
}

// The order of sums is that of the ranks in both, so processes and threads give the same bits.
TEST_F(MpiRanks, ProcessesAndThreadsGiveTheSameBits) {
  const std::string seed = std::to_string(test::fresh_seed() % 1000000);
  for (const int ranks : {2, 3, 8}) {
    if (ranks > 3 && !test::long_tier()) continue;  // eight processes on two cores
    const test::TemporaryDirectory folder;
    const auto mpi = start(ranks, {"collectives", "--seed", seed, "--limit", "200000"}, folder / "mpi");
    // Eight of them take three seconds of a quiet machine's two cores, and minutes of a busy one's.
    constexpr std::chrono::seconds kPatience{300};
    ASSERT_EQ(mpi->wait(kPatience), 0) << ranks << " ranks: " << mpi->text();
    EXPECT_NE(mpi->text().find("mpi ("), std::string::npos) << mpi->text();
    Process threads({rank_program(), "collectives", "--seed", seed, "--limit", "200000", "--devices",
                     std::to_string(ranks)},
                    {}, folder / "threads");
    ASSERT_EQ(threads.wait(kPatience), 0) << ranks << " ranks: " << threads.text();
    EXPECT_EQ(lines_of(mpi->text()).size(), static_cast<std::size_t>(ranks)) << mpi->text();
    EXPECT_EQ(lines_of(mpi->text()), lines_of(threads.text())) << mpi->text() << threads.text();
  }
}

TEST_F(MpiRanks, ARankThatNeverEntersIsNamedAndNobodyHangs) {
  const test::TemporaryDirectory folder;
  const auto mpi = start(3, {"sleep", "--faulty", "1", "--limit", "2000"}, folder / "mpi");
  EXPECT_NE(mpi->wait(), 0);
  EXPECT_LT(mpi->seconds(), 20.0);
  const std::string text = mpi->text();
  EXPECT_NE(text.find("all_reduce #3 [gradients layer 3"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 1 ("), std::string::npos) << text;
}

TEST_F(MpiRanks, AKilledRankEndsTheRun) {
  const test::TemporaryDirectory folder;
  const auto mpi = start(3, {"kill", "--faulty", "1", "--limit", "30000"}, folder / "mpi");
  EXPECT_NE(mpi->wait(), 0);
  EXPECT_LT(mpi->seconds(), 20.0);
}

TEST_F(MpiRanks, AnotherSizeIsFoundBeforeMpiMixesTheTwo) {
  const test::TemporaryDirectory folder;
  const auto mpi = start(2, {"short", "--faulty", "1", "--limit", "30000"}, folder / "mpi");
  EXPECT_NE(mpi->wait(), 0);
  EXPECT_LT(mpi->seconds(), 20.0);
  EXPECT_NE(mpi->text().find("different collectives as #3"), std::string::npos) << mpi->text();
}

TEST(MpiPlugin, AMissingPluginSaysHowToGetIt) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(2, folder,
                           {"collectives", "--carrier", "auto", "--plugin", folder / "absent.so", "--limit",
                            "5000", "--seed", "1"},
                           "file:" + (folder / "meeting"));
  for (auto& rank : ranks) {
    const int code = rank->wait();
    const std::string text = rank->text();
    // The one that comes second may hear of the first one's end before it looks itself.
    EXPECT_TRUE(code == 3 || code == 1) << code << text;
    if (code == 3) {
      EXPECT_NE(text.find("libopenmpi-dev"), std::string::npos) << text;
    }
  }
}

}  // namespace
}  // namespace rlcpp::dist
