// The order of real system calls, as the shim lists them: what gets a name is on the disk before, and the
// name soon after. This looks below the file layer, where the crash states of crash_test.cpp do not.
#include <set>
#include <sstream>

#include "app/sft_run.h"
#include "faults.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

struct Call {
  std::string name, path, to;
};

std::vector<Call> parsed(const std::vector<std::string>& lines) {
  std::vector<Call> out;
  for (const std::string& line : lines) {
    std::istringstream words(line);
    std::string number;
    Call call;
    words >> number >> call.name >> call.path >> call.to;
    out.push_back(std::move(call));
  }
  return out;
}

bool below(const std::string& path, const std::string& folder) {
  return path.starts_with(folder + "/");
}

TEST(DurabilityOrder, NamesComeAfterTheirContentsAndAreMadeDurable) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  const SftWorld world;
  Tally tally("K1", "renames of a real run: contents and folders synced before, the name after", 10);
  const std::vector<Call> calls = parsed(
      calls_of(world, "traced",
               world.sft("traced", {"--ckpt.interval", "1", "--ckpt.keep-last", "1", "--max-steps", "3"})));
  int renames = 0;
  for (std::size_t r = 0; r < calls.size(); ++r) {
    const Call& rename = calls[r];
    if (rename.name != "rename") continue;
    tally.run(rename.path + " to " + rename.to, [&] {
      ++renames;
      const std::string parent = fs::path(rename.to).parent_path();
      bool durable = false;
      for (std::size_t i = r + 1; i < calls.size() && !durable; ++i) {
        // The bytes of what is thrown away must not go before its name has.
        EXPECT_FALSE(calls[i].name == "remove" &&
                     (calls[i].path == rename.to || below(calls[i].path, rename.to)))
            << calls[i].path;
        durable = calls[i].name == "sync_directory" && calls[i].path == parent;
      }
      EXPECT_TRUE(durable) << parent << " is never synced after it";
      if (rename.to.find(".trash-") != std::string::npos) return;
      std::set<std::string> unsynced, folders;
      for (std::size_t i = 0; i < r; ++i) {
        const Call& call = calls[i];
        if (call.path != rename.path && !below(call.path, rename.path)) continue;
        const std::string folder = fs::path(call.path).parent_path();
        if (call.name == "open" || call.name == "write" || call.name == "pwrite") unsynced.insert(call.path);
        if (call.name == "fsync" || call.name == "fdatasync") unsynced.erase(call.path);
        if ((call.name == "open" || call.name == "mkdir") && call.path != rename.path) folders.insert(folder);
        if (call.name == "sync_directory") folders.erase(call.path);
      }
      EXPECT_TRUE(unsynced.empty()) << *unsynced.begin() << " is not synced before it";
      EXPECT_TRUE(folders.empty()) << *folders.begin() << " is not synced before it";
    });
  }
  EXPECT_GE(renames, 10);
}

}  // namespace
}  // namespace rlcpp::test
