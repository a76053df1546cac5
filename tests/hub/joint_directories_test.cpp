// Directories that several writers fill together: the bytes of one that wrote alone.
#include "hub/joint_directories.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <thread>

#include "base/failpoint.h"
#include "hub/image_writer.h"
#include "image_sources.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

// Every tensor is cut at random, and each run of elements belongs to one of `writers`.
class JointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    from_ = sources(random_());
    for (const Source& s : from_) {
      auto& runs = owners_.emplace_back();
      const auto size = static_cast<std::int64_t>(s.values.size());
      for (std::int64_t at = 0; at < size;) {
        const auto count =
            std::min<std::int64_t>(size - at, 1 + static_cast<std::int64_t>(random_() % 400'000));
        runs.push_back({at, count, static_cast<int>(random_() % kWriters)});
        at += count;
      }
    }
  }
  void TearDown() override { failpoint::disarm_all(); }

  std::vector<DirectoryImage> images(int writer, const std::string& path) {
    std::vector<DirectoryImage> out(1);
    out[0].path = path;
    out[0].facts = R"({"step": 3})";
    out[0].add("first.json", "{}\n");
    for (const DType type : {DType::kF32, DType::kBF16}) {
      std::vector<ImagePart> parts;
      for (std::size_t i = 0; i < from_.size(); ++i) {
        ImagePart& part = parts.emplace_back();
        part.stored = {from_[i].name, type, from_[i].shape};
        const auto size = static_cast<std::int64_t>(from_[i].values.size());
        for (const Run& run : owners_[i]) {
          if (run.writer == writer)
            part.pieces.push_back({run.first, from_[i].tensor().view({size}).rows(run.first, run.count)});
        }
      }
      out[0].add(type == DType::kF32 ? "a/wide.safetensors" : "narrow.safetensors",
                 TensorImage(std::move(parts), {{"format", "test"}},
                             writer == 0 ? Share::kHeaderAndPieces : Share::kPieces));
    }
    out[0].add("last.txt", "end");
    return out;
  }

  static constexpr int kWriters = 3;
  struct Run {
    std::int64_t first, count;
    int writer;
  };
  std::mt19937_64 random_{test::fresh_seed()};
  std::vector<Source> from_;
  std::vector<std::vector<Run>> owners_;
  test::TemporaryDirectory dir_;
};

TEST_F(JointTest, TheSameBytesAndTheSameManifest) {
  write_plainly(from_, dir_ / "plain");
  const std::string path = dir_ / "joint";
  std::vector<std::vector<DirectoryImage>> orders;
  std::vector<std::unique_ptr<JointDirectories>> joints;
  for (int w = 0; w < kWriters; ++w) {
    orders.push_back(images(w, path));
    joints.push_back(
        std::make_unique<JointDirectories>(durable::system_files(), orders.back(), "run", w == 0));
  }
  std::vector<std::vector<double>> reports(kWriters);
  {
    std::vector<std::jthread> threads;
    for (std::size_t w = 0; w < kWriters; ++w) {
      threads.emplace_back([&, w] {
        ImageWriter writer(durable::system_files(), Device{}, (w + 1) * ImageWriter::kBlock, 2, 2);
        WriteProgress progress;
        int read = 0;
        writer.write(orders[w], *joints[w], progress, [&] { ++read; });
        EXPECT_EQ(read, 1);
        EXPECT_EQ(progress.written_bytes, progress.total_bytes);
        reports[w] = joints[w]->report();
      });
    }
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  WriteProgress progress;
  joints[0]->commit(orders[0], reports, progress);
  EXPECT_EQ(progress.committed, 1);
  durable::verify_directory(path);
  for (const char* name :
       {"first.json", "a/wide.safetensors", "narrow.safetensors", "last.txt", "manifest.json"})
    EXPECT_TRUE(durable::read_file(path + "/" + name) == durable::read_file(dir_ / "plain" + "/" + name))
        << name;
}

TEST_F(JointTest, WhatOneDidNotWriteIsNotCommitted) {
  const std::string path = dir_ / "joint";
  std::vector<std::vector<double>> reports;
  std::vector<std::vector<DirectoryImage>> orders;
  std::vector<std::unique_ptr<JointDirectories>> joints;
  for (int w = 0; w < kWriters; ++w) {
    orders.push_back(images(w, path));
    joints.push_back(
        std::make_unique<JointDirectories>(durable::system_files(), orders.back(), "run", w == 0));
    ImageWriter writer(durable::system_files(), Device{}, 4 * ImageWriter::kBlock, 1);
    WriteProgress progress;
    const auto index = static_cast<std::size_t>(w);
    if (w != 1) writer.write(orders[index], *joints[index], progress);
    reports.push_back(joints[index]->report());
  }
  WriteProgress progress;
  EXPECT_THROW(joints[0]->commit(orders[0], reports, progress), Error);
  EXPECT_EQ(progress.committed, 0);
  joints.clear();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp-run"));
}

TEST_F(JointTest, AFailingDiskIsThrownAndAnAbsentFileToo) {
  const std::string path = dir_ / "joint";
  auto order = images(1, path);
  EXPECT_THROW(JointDirectories(durable::system_files(), order, "run", false), Error);  // nobody made it
  auto first = images(0, path);
  JointDirectories made(durable::system_files(), first, "run", true);
  JointDirectories joined(durable::system_files(), order, "run", false);
  failpoint::arm("checkpoint.write_block=error:2");
  ImageWriter writer(durable::system_files(), Device{}, 4 * ImageWriter::kBlock, 2);
  WriteProgress progress;
  EXPECT_THROW(writer.write(order, joined, progress), Error);
}

TEST_F(JointTest, HeldRangesAreWhatPiecesCover) {
  for (int w = 0; w < kWriters; ++w) {
    const auto order = images(w, "unused");
    const TensorImage& image = *order[0].files[1].tensors;
    // Byte by byte, from where the elements lie; tensors follow the header without gaps.
    std::vector<bool> expected(image.bytes(), false);
    std::size_t at = image.bytes();
    for (const Source& s : from_) at -= s.values.size() * 4;
    if (w == 0) std::fill_n(expected.begin(), at, true);
    for (std::size_t i = 0; i < from_.size(); ++i) {
      for (const Run& run : owners_[i]) {
        if (run.writer == w)
          std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at) + run.first * 4, run.count * 4,
                      true);
      }
      at += from_[i].values.size() * 4;
    }
    for (int round = 0; round < 50; ++round) {
      const std::size_t first = random_() % image.bytes(), count = random_() % (image.bytes() - first) + 1;
      std::vector<bool> found(count, false);
      std::size_t last = 0;
      for (const ByteRange& range : image.held({first, count})) {
        EXPECT_GT(range.count, 0U);
        EXPECT_TRUE(last == 0 || range.first > last) << "neighbours are one";
        last = range.first + range.count;
        ASSERT_TRUE(range.first >= first && last <= first + count);
        std::fill_n(found.begin() + static_cast<std::ptrdiff_t>(range.first - first), range.count, true);
      }
      EXPECT_TRUE(
          std::equal(found.begin(), found.end(), expected.begin() + static_cast<std::ptrdiff_t>(first)));
    }
  }
}

}  // namespace
}  // namespace rlcpp::hub
