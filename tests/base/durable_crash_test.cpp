// What survives: failing calls, crashes with lost and reordered writes, kill -9 at every call.
#include <sys/wait.h>

#include <filesystem>

#include "base/durable_fixture.h"
#include "base/durable_layers.h"
#include "base/failpoint.h"
#include "support.h"

namespace rlcpp::durable {
namespace {

namespace fs = std::filesystem;
using test::FastDirectory;

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

// E1: the Nth call fails, N = 1, 2, ... until a save goes through; once, and for ever after.
class SingleFailure : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(SingleFailure, LeavesTheOlderOneValid) {
  const auto [error_number, sticky] = GetParam();
  const std::size_t descriptors = open_descriptors();
  int nth = 1;
  for (bool clean = false; !clean; ++nth) {
    ASSERT_LT(nth, 200);
    const FastDirectory dir;
    test::save(system_files(), dir.path(), 10);
    test::FaultyFiles files(nth, error_number, sticky);
    try {
      test::save(files, dir.path(), 20);
      clean = files.failures() == 0;
      EXPECT_TRUE(clean) << "the failure of " << files.failed_call() << " was swallowed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      EXPECT_NE(std::string(error.what()).find(dir.path()), std::string::npos) << error.what();
      EXPECT_FALSE(error.help().empty());
    }
    EXPECT_EQ(test::fault_of(dir.path(), 10), "") << files.failed_call();
    const auto newest = newest_step(dir.path(), nullptr);
    ASSERT_TRUE(newest == 10 || newest == 20) << files.failed_call();
    EXPECT_EQ(test::fault_of(dir.path(), *newest), "") << files.failed_call();
    if (clean) {
      EXPECT_EQ(newest, 20);
    }
    // After the fault the next save goes through, whatever the failed one left behind.
    test::save(system_files(), dir.path(), 30);
    EXPECT_EQ(newest_step(dir.path(), nullptr), 30);
  }
  EXPECT_GT(nth, 20);  // the protocol has that many calls
  EXPECT_EQ(open_descriptors(), descriptors);
}

INSTANTIATE_TEST_SUITE_P(Errors, SingleFailure,
                         testing::Combine(testing::Values(EIO, ENOSPC, EDQUOT, EROFS, EMFILE),
                                          testing::Bool()));

// A failed sync is final: the kernel may have dropped the pages and the next sync would report success.
TEST(FailedSync, IsNotTriedAgainOnTheSameFile) {
  const FastDirectory dir;
  test::FaultyFiles files(4, EIO, false);  // make_directory, open, write, sync
  AtomicDirectory directory(files, dir / "d", "r");
  auto writer = directory.create("a");
  const std::string text = "text";
  writer.write(std::as_bytes(std::span(text)));
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_EQ(files.failed_call(), "sync " + (dir / "d.tmp-r/a"));
  const int calls = files.calls();
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(directory.commit("{}"), Error);
  EXPECT_EQ(files.calls(), calls);  // neither of the two touched the disk
}

// Runs a save of 20 beside 10, then the removal of 10, and checks every crash state. Returns the violations.
std::vector<std::string> violations(const std::set<std::string>& mutants, std::size_t max_dropped,
                                    std::size_t* states) {
  const FastDirectory then;
  test::RecordingFiles files(mutants);
  test::save(files, then.path(), 10);
  std::vector<test::DiskCall> calls = files.calls();
  // 10 was saved by a correct program: whatever the mutant leaves out is put behind it, made durable.
  std::vector<test::DiskCall> before;
  for (const auto& call : calls) before.push_back(call);
  const std::size_t begun = calls.size();
  test::save(files, then.path(), 20);
  const std::size_t saved = files.calls().size();
  remove_tree(files, then / "step_10");
  calls = files.calls();
  const std::vector<test::DiskCall> work(calls.begin() + static_cast<std::ptrdiff_t>(begun), calls.end());

  std::vector<std::string> found;
  *states = test::for_crash_states(
      work, max_dropped, [&](std::size_t after, const std::vector<test::DiskCall>& state) {
        const FastDirectory now;
        std::vector<test::DiskCall> all = before;
        all.insert(all.end(), state.begin(), state.end());
        test::make_state(all, then.path(), now.path());
        const bool promised = begun + after >= saved;  // save() had returned
        const auto newest = newest_step(now.path(), nullptr);
        const std::string where = "crash after call " + std::to_string(after) + ": ";
        if (!newest) {
          found.push_back(where + "nothing is left");
        } else if (promised && *newest != 20) {
          found.push_back(where + "step 20 was promised and is lost");
        } else if (const std::string fault = test::fault_of(now.path(), *newest); !fault.empty()) {
          found.push_back(where + "a mixture was taken for whole: " + fault);
        }
      });
  return found;
}

TEST(CrashStates, NewestVerifiedIsFoundAndNeverAMixture) {
  std::size_t states = 0;
  const auto found = violations({}, 3, &states);
  EXPECT_TRUE(found.empty()) << found.front();
  EXPECT_GT(states, 250U);
  RecordProperty("states", std::to_string(states));
}

// The test above proves something only if it fails for a protocol without its syncs.
TEST(CrashStates, AreSeenToFailWithoutSyncs) {
  std::size_t states = 0;
  EXPECT_FALSE(violations({"sync"}, 1, &states).empty());
  EXPECT_FALSE(violations({"sync_directory"}, 1, &states).empty());
}

// kill -9 before every call: the process dies for real, through the fail point that each of them passes.
TEST(Kill, AtEveryCallLosesNothing) {
  int nth = 1;
  for (bool clean = false; !clean; ++nth) {
    ASSERT_LT(nth, 200);
    const FastDirectory dir;
    test::save(system_files(), dir.path(), 10);
    const pid_t child = fork();
    if (child == 0) {
      try {
        failpoint::arm("durable.call=kill:" + std::to_string(nth));
        test::save(system_files(), dir.path(), 20);
        _exit(0);
      } catch (...) {
        _exit(9);
      }
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    clean = WIFEXITED(status);
    if (clean) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    } else {
      EXPECT_EQ(WTERMSIG(status), SIGKILL);
    }
    const auto newest = newest_step(dir.path(), nullptr);
    ASSERT_TRUE(newest == (clean ? 20 : newest)) << nth;
    ASSERT_TRUE(newest == 10 || newest == 20) << nth;
    EXPECT_EQ(test::fault_of(dir.path(), *newest), "");
    EXPECT_EQ(test::fault_of(dir.path(), 10), "");
    // The next start of the same run cleans up and saves again.
    remove_leftovers(system_files(), dir.path());
    if (newest == 10) test::save(system_files(), dir.path(), 20);
    EXPECT_EQ(committed_steps(dir.path(), nullptr), (std::vector<std::int64_t>{10, 20}));
    EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator{}), 2);
  }
  EXPECT_GT(nth, 20);
}

TEST(Kill, InTheMiddleOfAWriteLeavesATornFileOnlyUnderATemporaryName) {
  const FastDirectory dir;
  write_file(system_files(), dir / "state.json", "old");
  const pid_t child = fork();
  if (child == 0) {
    failpoint::arm("durable.write.half=kill");
    write_file(system_files(), dir / "state.json", "the new content");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(dir / "state.json"), "old");
  bool torn = false;
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    if (entry.path().filename() != "state.json") torn = read_file(entry.path().string()) == "the new";
  }
  EXPECT_TRUE(torn);
}

TEST(Flip, ABitThatTheDiskStoredWrongIsFound) {
  const FastDirectory dir;
  failpoint::arm("durable.write=flip:2");
  test::save(system_files(), dir.path(), 4);
  failpoint::disarm_all();
  EXPECT_THROW(verify_directory(dir / "step_4"), Error);
}

}  // namespace
}  // namespace rlcpp::durable
