// Files that several processes write: checksums put together from parts.
#include "base/durable_shared.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support.h"

namespace rlcpp::durable {
namespace {

std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(SharedFiles, ChecksumsCombine) {
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 400; ++round) {
    const auto bytes = random_bytes(random, random() % 3000);
    const auto all = std::span<const std::byte>(bytes);
    const std::size_t cut = random() % (bytes.size() + 1);
    EXPECT_EQ(crc32c_combine(crc32c(all.first(cut)), crc32c(all.subspan(cut)), bytes.size() - cut),
              crc32c(all))
        << cut << " of " << bytes.size();
  }
  // Zeros by the gigabyte: crc(0^(2n)) from crc(0^n), against a sum made in the ordinary way.
  const std::vector<std::byte> zeros(std::size_t{1} << 20);
  std::uint32_t expected = 0;
  for (int i = 0; i < 64; ++i) expected = crc32c(zeros, expected);
  std::uint32_t doubled = crc32c(zeros);
  for (std::uint64_t n = zeros.size(); n < (std::uint64_t{64} << 20); n *= 2)
    doubled = crc32c_combine(doubled, doubled, n);
  EXPECT_EQ(doubled, expected);
}

TEST(SharedFiles, ChunksFromSegmentsInAnyOrder) {
  std::mt19937_64 random(test::fresh_seed());
  const auto bytes = random_bytes(random, 2 * kChunkBytes + 12345);
  const auto all = std::span<const std::byte>(bytes);
  std::vector<std::uint32_t> expected;
  for (std::size_t at = 0; at < bytes.size(); at += kChunkBytes)
    expected.push_back(crc32c(all.subspan(at, std::min(kChunkBytes, bytes.size() - at))));
  std::vector<Segment> segments;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t part = std::min<std::size_t>(bytes.size() - at, 1 + random() % (kChunkBytes / 2));
    for (const Segment& s : segments_of(at, all.subspan(at, part))) segments.push_back(s);
    at += part;
  }
  std::shuffle(segments.begin(), segments.end(), random);
  EXPECT_EQ(chunk_checksums("f", bytes.size(), segments), expected);
  EXPECT_TRUE(chunk_checksums("f", 0, {}).empty());

  const auto refused = [&](std::vector<Segment> broken, const char* why) {
    try {
      chunk_checksums("dir/f", bytes.size(), std::move(broken));
      ADD_FAILURE() << "not refused: " << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("dir/f"), std::string::npos) << error.what();
    }
  };
  for (int round = 0; round < 20; ++round) {
    std::vector<Segment> less = segments, more = segments;
    less.erase(less.begin() + static_cast<std::ptrdiff_t>(random() % less.size()));
    refused(less, "stored by nobody");
    more.push_back(more[random() % more.size()]);
    refused(more, "stored twice");
  }
}

TEST(SharedFiles, TwoWritersOfOneDirectory) {
  std::mt19937_64 random(test::fresh_seed());
  const test::TemporaryDirectory folder;
  const std::string path = folder / "out";
  const auto bytes = random_bytes(random, kChunkBytes + 777);
  const auto all = std::span<const std::byte>(bytes);
  FileLayer& files = system_files();
  AtomicDirectory directory(files, path, "run");
  auto parts = directory.create("part/data.bin", bytes.size());
  std::vector<Segment> segments;
  {
    SharedFile other(files, AtomicDirectory::temporary_of(path, "run") + "/part/data.bin");
    for (std::size_t at = 0, turn = 0; at < bytes.size(); at += 100'000, ++turn) {
      const auto part = all.subspan(at, std::min<std::size_t>(100'000, bytes.size() - at));
      if (turn % 2 == 0) {
        parts.write_at(at, part);
      } else {
        other.write_at(at, part);
      }
      for (const Segment& s : segments_of(at, part)) segments.push_back(s);
    }
    other.finish();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  parts.finish(chunk_checksums("data.bin", bytes.size(), segments));
  directory.commit("{}");
  verify_directory(path);
  const std::string text = read_file(path + "/part/data.bin");
  EXPECT_TRUE(std::equal(text.begin(), text.end(), bytes.begin(), bytes.end(),
                         [](char a, std::byte b) { return static_cast<std::byte>(a) == b; }));
  EXPECT_THROW(SharedFile(files, path + "/none"), Error);
}

}  // namespace
}  // namespace rlcpp::durable
