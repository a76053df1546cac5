#include "base/durable.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/durable_fixture.h"
#include "support.h"

namespace rlcpp::durable {
namespace {

namespace fs = std::filesystem;
using test::FastDirectory;

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void overwrite(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
}

template <class Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return bad_input("none");
}

TEST(WriteFile, ReplacesWholeAndLeavesNothingBehind) {
  const FastDirectory dir;
  write_file(system_files(), dir / "a.json", "first");
  write_file(system_files(), dir / "a.json", "second, longer");
  EXPECT_EQ(read_file(dir / "a.json"), "second, longer");
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"a.json"});
  write_file(system_files(), dir / "empty", "");
  EXPECT_EQ(read_file(dir / "empty"), "");
}

TEST(WriteFile, RefusesPipesAndDevicesInsteadOfReplacingThem) {
  const FastDirectory dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", dir / "link");
  for (const char* name : {"pipe", "link"}) {
    const Error error = error_of([&] { write_file(system_files(), dir / name, "x"); });
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_TRUE(fs::is_fifo(dir / name));
  }
  EXPECT_EQ(names_in(dir.path()).size(), 2U);
}

TEST(WriteFile, NamesAPlaceThatCannotBeAFile) {
  const FastDirectory dir;
  fs::create_directories(dir / "taken/inside");
  const Error taken = error_of([&] { write_file(system_files(), dir / "taken", "x"); });
  EXPECT_EQ(taken.code(), ExitCode::kBadInput);
  EXPECT_EQ(taken.what(), "cannot write " + (dir / "taken"));
  EXPECT_EQ(taken.because(), "it is a directory");
  const Error nowhere = error_of([&] { write_file(system_files(), dir / "no/such/file", "x"); });
  EXPECT_EQ(nowhere.code(), ExitCode::kEnvironment);
  EXPECT_EQ(nowhere.what(), "cannot write " + (dir / "no/such/file"));
  EXPECT_EQ(nowhere.because(), "there is no directory " + (dir / "no/such"));
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"taken"});
}

TEST(ReadFile, NamesWhatCannotBeRead) {
  const FastDirectory dir;
  const Error absent = error_of([&] { (void)read_file(dir / "absent.toml"); });
  EXPECT_EQ(absent.code(), ExitCode::kBadInput);
  EXPECT_NE(std::string(absent.what()).find("absent.toml"), std::string::npos);
  EXPECT_NE(absent.because().find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)read_file(dir.path()); }).because().find("directory"), std::string::npos);
  const std::string binary("a\0b\r\n\xff", 6);
  overwrite(dir / "binary", binary);
  EXPECT_EQ(read_file(dir / "binary"), binary);
}

TEST(SystemFiles, ARealFullDiskIsNamed) {
  const int fd = system_files().open_append("/dev/full");
  const std::string text = "x";
  const Error error = error_of([&] { system_files().write(fd, std::as_bytes(std::span(text))); });
  system_files().close(fd);
  EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  EXPECT_STREQ(error.what(), "cannot write: /dev/full");
  EXPECT_NE(error.because().find("No space left on device"), std::string::npos);
  EXPECT_NE(error.help().find("free space"), std::string::npos);
}

TEST(SystemFiles, NeverWritesThroughALinkOrOverAFile) {
  const FastDirectory dir;
  overwrite(dir / "precious", "keep");
  fs::create_symlink(dir / "precious", dir / "link");
  EXPECT_THROW((void)system_files().open_new(dir / "link"), Error);
  EXPECT_THROW((void)system_files().open_append(dir / "link"), Error);
  EXPECT_THROW((void)system_files().open_new(dir / "precious"), Error);
  EXPECT_EQ(read_file(dir / "precious"), "keep");
}

TEST(Directories, AreMadeAtAllLevelsAndRemovedWithoutFollowingLinks) {
  const FastDirectory dir;
  make_directories(system_files(), dir / "a/b/c/");
  make_directories(system_files(), dir / "a/b/c");
  EXPECT_TRUE(fs::is_directory(dir / "a/b/c"));
  overwrite(dir / "file", "outside");
  EXPECT_THROW(make_directories(system_files(), dir / "file/below"), Error);
  fs::create_symlink(dir / "file", dir / "a/b/link");
  fs::create_directory_symlink(dir.path(), dir / "a/b/up");
  remove_tree(system_files(), dir / "a");
  remove_tree(system_files(), dir / "a");  // nothing there: nothing happens
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"file"});
}

TEST(Directories, LeftoversOfKilledRunsAreRemovedAndNothingElse) {
  const FastDirectory dir;
  for (const char* name : {"step_1", "step_2.tmp-run-7", "step_3.trash-0a1b", "step_4.bad-0a1b"}) {
    fs::create_directories(dir / (std::string(name) + "/inside"));
  }
  overwrite(dir / "metrics.jsonl.tmp-9", "half");
  remove_leftovers(system_files(), dir.path(), "metrics");
  EXPECT_EQ(names_in(dir.path()).size(), 4U);
  remove_leftovers(system_files(), dir.path());
  remove_leftovers(system_files(), dir / "absent");
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step_1", "step_4.bad-0a1b"}));
}

TEST(AtomicDirectory, CommitsEverythingOrNothing) {
  const FastDirectory dir;
  test::save(system_files(), dir / "checkpoints", 12);
  EXPECT_EQ(test::fault_of(dir / "checkpoints", 12), "");
  EXPECT_EQ(names_in(dir / "checkpoints"), std::vector<std::string>{"step_12"});
  {
    AtomicDirectory unfinished(system_files(), dir / "checkpoints/step_13", "run-7");
    unfinished.add("a", "b");
    EXPECT_FALSE(fs::exists(dir / "checkpoints/step_13"));
    EXPECT_TRUE(fs::exists(dir / "checkpoints/step_13.tmp-run-7/a"));
  }
  EXPECT_EQ(names_in(dir / "checkpoints"), std::vector<std::string>{"step_12"});
}

TEST(AtomicDirectory, ManifestSaysWhatIsThere) {
  const FastDirectory dir;
  test::save(system_files(), dir.path(), 5);
  const auto manifest = nlohmann::json::parse(read_file(dir / "step_5/manifest.json"));
  EXPECT_EQ(manifest["format"], "rlcpp-directory");
  EXPECT_EQ(manifest["version"], 1);
  EXPECT_EQ(manifest["run"], "run-7");
  EXPECT_EQ(manifest["facts"]["step"], 5);
  EXPECT_EQ(manifest["files"].size(), 3U);
  EXPECT_EQ(manifest["files"][0]["name"], "empty");
  EXPECT_EQ(manifest["files"][0]["crc32c"].size(), 0U);
  EXPECT_EQ(manifest["files"][2]["size"], 300);
}

TEST(AtomicDirectory, ChecksumsOfLargeFilesAreByChunk) {
  const FastDirectory dir;
  std::mt19937_64 random(test::fresh_seed());
  std::vector<std::byte> content(2 * kChunkBytes + 12345);
  for (std::size_t i = 0; i + 8 <= content.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(content.data() + i, &word, 8);
  }
  AtomicDirectory directory(system_files(), dir / "d", "r");
  auto writer = directory.create("big");
  for (std::size_t at = 0; at < content.size();) {  // pieces of all sizes, across the buffer and the chunks
    const std::size_t piece =
        std::min<std::size_t>(content.size() - at, random() % (at % 2 == 0 ? 3000000 : 5000));
    writer.write(std::span<const std::byte>(content).subspan(at, piece));
    at += piece;
  }
  writer.finish();
  directory.commit("{}");
  EXPECT_EQ(verify_directory(dir / "d"), "{}");
  const std::string back = read_file(dir / "d/big");
  ASSERT_EQ(back.size(), content.size());
  EXPECT_EQ(std::memcmp(back.data(), content.data(), back.size()), 0);

  std::string bad = back;
  const std::size_t at = kChunkBytes + random() % kChunkBytes;
  bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
  overwrite(dir / "d/big", bad);
  const Error error = error_of([&] { verify_directory(dir / "d"); });
  EXPECT_EQ(error.code(), ExitCode::kBadInput);
  EXPECT_NE(std::string(error.what()).find(dir / "d/big"), std::string::npos) << error.what();
  EXPECT_NE(error.because().find("at offset 4194304"), std::string::npos) << error.because();
  EXPECT_EQ(verify_directory(dir / "d", false), "{}");  // sizes alone do not see it
}

TEST(AtomicDirectory, RefusesToReplaceAGoodOneAndSetsABadOneAside) {
  const FastDirectory dir;
  test::save(system_files(), dir.path(), 1);
  const Error error = error_of([&] { test::save(system_files(), dir.path(), 1, "run-8"); });
  EXPECT_EQ(error.code(), ExitCode::kBadInput);
  EXPECT_EQ(test::fault_of(dir.path(), 1), "");
  overwrite(dir / "step_1/optimizer.bin", "torn");
  test::save(system_files(), dir.path(), 1, "run-8");
  EXPECT_EQ(test::fault_of(dir.path(), 1), "");
  const auto names = names_in(dir.path());
  ASSERT_EQ(names.size(), 2U);
  EXPECT_TRUE(names[1].starts_with("step_1.bad-")) << names[1];
}

TEST(AtomicDirectory, RemovesItsOwnRemainsButNotThoseOfOthers) {
  const FastDirectory dir;
  fs::create_directories(dir / "step_1.tmp-run-7/old");
  fs::create_directories(dir / "step_1.tmp-other");
  test::save(system_files(), dir.path(), 1);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step_1", "step_1.tmp-other"}));
  EXPECT_EQ(test::fault_of(dir.path(), 1), "");
}

TEST(AtomicDirectory, RefusesNamesThatLeaveIt) {
  const FastDirectory dir;
  AtomicDirectory directory(system_files(), dir / "d", "r");
  for (const char* name : {"", ".", "..", "../x", "a/../b", "/etc/x", "a//b", "a/", "manifest.json"}) {
    EXPECT_THROW(directory.add(name, ""), Error) << name;
  }
  directory.add("twice", "");
  EXPECT_THROW(directory.add("twice", ""), Error);
  EXPECT_THROW(AtomicDirectory(system_files(), dir / "e", "../r"), Error);
}

TEST(AtomicDirectory, CommitRefusesWritersThatAreNotFinished) {
  const FastDirectory dir;
  AtomicDirectory directory(system_files(), dir / "d", "r");
  {
    auto writer = directory.create("open");
    EXPECT_THROW(directory.commit("{}"), Error);
  }
  EXPECT_THROW(directory.commit("{}"), Error);  // it was abandoned: its content is not known to be whole
  EXPECT_FALSE(fs::exists(dir / "d"));
}

TEST(Verify, EveryChangedByteAndEveryCutOfTheManifestIsFound) {
  const FastDirectory dir;
  test::save(system_files(), dir.path(), 3);
  const std::string path = dir / "step_3/manifest.json";
  const std::string good = read_file(path);
  std::mt19937_64 random(test::fresh_seed());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1 << (random() % 8), 0x20}) {  // 0x20: the case of a letter
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      overwrite(path, bad);
      const Error error = error_of([&] { verify_directory(dir / "step_3"); });
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(error.what()).find("manifest.json"), std::string::npos) << i;
    }
    overwrite(path, good.substr(0, i));
    EXPECT_THROW(verify_directory(dir / "step_3"), Error) << i;
  }
  overwrite(path, good + "\n");
  EXPECT_THROW(verify_directory(dir / "step_3"), Error);
  overwrite(path, good);
  EXPECT_EQ(verify_directory(dir / "step_3"), "{\"step\":3}");
}

TEST(Verify, EveryDamagedFileIsNamed) {
  const FastDirectory dir;
  test::save(system_files(), dir.path(), 3);
  const std::string path = dir / "step_3/weights/model.safetensors";
  const std::string good = read_file(path);
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 200; ++round) {
    std::string bad = good;
    const std::size_t at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
    overwrite(path, bad);
    const Error error = error_of([&] { verify_directory(dir / "step_3"); });
    EXPECT_NE(std::string(error.what()).find("weights/model.safetensors"), std::string::npos);
    EXPECT_NE(error.because().find("offset 0"), std::string::npos) << error.because();
  }
  overwrite(path, good.substr(0, 123));
  EXPECT_NE(error_of([&] { verify_directory(dir / "step_3", false); }).because().find("offset 123"),
            std::string::npos);
  overwrite(path, good + "x");
  EXPECT_NE(error_of([&] { verify_directory(dir / "step_3", false); }).because().find("offset 300"),
            std::string::npos);
  fs::remove(path);
  EXPECT_NE(error_of([&] { verify_directory(dir / "step_3"); }).because().find("No such file"),
            std::string::npos);
  EXPECT_THROW(verify_directory(dir / "absent"), Error);
}

TEST(Verify, AForeignButSealedManifestIsRefusedInWords) {
  const FastDirectory dir;
  fs::create_directory(dir / "d");
  // Sealed by the same checksum, so only the meaning of the contents can refuse it.
  const auto seal = [&](const std::string& body) {
    std::array<char, 9> hex{};
    std::snprintf(hex.data(), hex.size(), "%08x", crc32c(std::as_bytes(std::span(body))));
    overwrite(dir / "d/manifest.json", body + ",\n  \"manifest_crc32c\": \"" + hex.data() + "\"\n}\n");
    return error_of([&] { verify_directory(dir / "d"); });
  };
  const std::string head = "{\n  \"format\": \"rlcpp-directory\",\n  \"version\": ";
  EXPECT_NE(seal("{\n  \"format\": \"other\"").because().find("other"), std::string::npos);
  EXPECT_NE(std::string(seal(head + "9").what()).find("version 9"), std::string::npos);
  const std::string rest =
      "1, \"run\": \"r\", \"chunk_bytes\": 4194304, \"facts\": {}, \"files\": [{\"name\": ";
  EXPECT_NE(seal(head + rest + "\"../../x\", \"size\": 0, \"crc32c\": []}]").because().find("../../x"),
            std::string::npos);
  EXPECT_NE(seal(head + rest + "\"x\", \"size\": 5, \"crc32c\": []}]").because().find("0 checksums"),
            std::string::npos);
  EXPECT_EQ(seal(head + rest + "\"x\", \"size\": -5, \"crc32c\": [3]}]").code(), ExitCode::kBadInput);
  EXPECT_EQ(seal(head + "{}").code(), ExitCode::kBadInput);
  EXPECT_EQ(seal("[1").code(), ExitCode::kBadInput);
}

TEST(CommittedSteps, AreInOrderOfNumberAndTheOthersAreExplained) {
  const FastDirectory dir;
  for (const int step : {100, 9, 20}) test::save(system_files(), dir.path(), step);
  fs::create_directory(dir / "step_300");
  fs::create_directory(dir / "step_07");
  fs::create_directory(dir / "step_40.tmp-x");
  fs::create_directory(dir / "other");
  overwrite(dir / "step_100/optimizer.bin", "moments of step 999");
  std::vector<std::string> skipped;
  EXPECT_EQ(committed_steps(dir.path(), &skipped), (std::vector<std::int64_t>{9, 20}));
  EXPECT_EQ(skipped.size(), 4U);
  EXPECT_EQ(committed_steps(dir.path(), nullptr, false), (std::vector<std::int64_t>{9, 20, 100}));
  skipped.clear();
  EXPECT_EQ(newest_step(dir.path(), &skipped), 20);
  bool named = false;
  for (const std::string& line : skipped)
    named = named || line.find("step_100/optimizer.bin") != std::string::npos;
  EXPECT_TRUE(named);
  EXPECT_EQ(newest_step(dir / "absent", nullptr), std::nullopt);
  EXPECT_TRUE(committed_steps(dir / "absent", nullptr).empty());
}

// /dev/full refuses every write as a full disk does.
TEST(WhenFull, IsAskedBeforeEachTryAndEndsItByThrowing) {
  const int fd = system_files().open_there("/dev/full");
  const std::string text = "text";
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_THROW(system_files().write(fd, bytes), Error);
  int asked = 0;
  const std::uint64_t before = tries_for_room();
  when_full([&](const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/dev/full"), std::string::npos);
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    if (++asked == 3) throw error;
  });
  EXPECT_THROW(system_files().write(fd, bytes), Error);
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(tries_for_room() - before, 2U);
  // Other refusals are not its business.
  EXPECT_THROW(system_files().open_there("/nonexistent/file"), Error);
  EXPECT_EQ(asked, 3);
  when_full({});
  EXPECT_THROW(system_files().write(fd, bytes), Error);
  EXPECT_EQ(asked, 3);
  system_files().close(fd);
}

}  // namespace
}  // namespace rlcpp::durable
