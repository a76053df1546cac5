// Images of tensor files: the same bytes whoever writes them, through rings of any size.
#include "hub/image_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>

#include "base/failpoint.h"
#include "base/rng.h"
#include "hub/image_reader.h"
#include "image_sources.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

class ImageWriterTest : public ::testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
  test::TemporaryDirectory dir_;
};

TEST_F(ImageWriterTest, WritesTheSameBytesThroughAnyRingWithAnyThreads) {
  auto from = sources(test::fresh_seed());
  write_plainly(from, dir_ / "plain");
  int number = 0;
  for (const std::size_t blocks : {1, 2, 100}) {
    for (const int threads : {1, 3}) {
      const std::string path = dir_ / ("written" + std::to_string(number++));
      std::vector<DirectoryImage> images;
      images.push_back(image_of(from, path));
      ImageWriter writer(durable::system_files(), Device{}, blocks * ImageWriter::kBlock, threads);
      WriteProgress progress;
      int read = 0;
      writer.write(images, "run", progress, [&] { ++read; });
      EXPECT_EQ(read, 1);
      EXPECT_EQ(progress.read_bytes, progress.total_bytes);
      EXPECT_EQ(progress.written_bytes, progress.total_bytes);
      EXPECT_EQ(progress.committed, 1);
      for (const char* name :
           {"first.json", "a/wide.safetensors", "narrow.safetensors", "last.txt", "manifest.json"})
        ASSERT_TRUE(durable::read_file(path + "/" + name) == durable::read_file(dir_ / "plain" + "/" + name))
            << name;
      durable::verify_directory(path);
    }
  }
}

TEST_F(ImageWriterTest, ValuesAreMadeOnceWhoeverReadsThem) {
  auto from = sources(test::fresh_seed());
  write_plainly(from, dir_ / "plain");
  std::vector<DirectoryImage> images(1);
  std::atomic<int> made = 0;
  images[0].path = dir_ / "written";
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<ImagePart> parts;
    for (Source& s : from) {
      parts.push_back({{s.name, type, s.shape}, Tensor(), [&] {
                         ++made;
                         return s.values;
                       }});
    }
    images[0].add(type == DType::kF32 ? "a/wide.safetensors" : "narrow.safetensors",
                  TensorImage(std::move(parts), {{"format", "test"}}));
  }
  ImageWriter writer(durable::system_files(), Device{}, 4 * ImageWriter::kBlock, 4);
  WriteProgress progress;
  writer.write(images, "run", progress);
  EXPECT_EQ(made, 2 * static_cast<int>(from.size()));
  for (const char* name : {"/a/wide.safetensors", "/narrow.safetensors"})
    EXPECT_TRUE(durable::read_file(dir_ / "written" + name) == durable::read_file(dir_ / "plain" + name));
}

TEST_F(ImageWriterTest, TensorsMayChangeOnceTheyAreRead) {
  const auto seed = test::fresh_seed();
  auto from = sources(seed), same = sources(seed);
  write_plainly(same, dir_ / "plain");
  std::vector<DirectoryImage> images;
  images.push_back(image_of(from, dir_ / "written"));
  ImageWriter writer(durable::system_files(), Device{}, ImageWriter::ring_for(images), 2);
  WriteProgress progress;
  failpoint::arm("checkpoint.write_block=delay(20):*");
  std::uint64_t written = 0;
  writer.write(images, "run", progress, [&] {
    written = progress.written_bytes;
    for (Source& s : from) std::fill(s.values.begin(), s.values.end(), -1.0F);
  });
  EXPECT_LT(written, progress.total_bytes.load());  // the ring held the rest
  for (const char* name : {"a/wide.safetensors", "narrow.safetensors"})
    EXPECT_TRUE(durable::read_file(dir_ / "written" + "/" + name) ==
                durable::read_file(dir_ / "plain" + "/" + name));
}

TEST_F(ImageWriterTest, AFailureAnywhereLeavesNothingAndTheWriterGoesOn) {
  auto from = sources(1);
  ImageWriter writer(durable::system_files(), Device{}, 2 * ImageWriter::kBlock, 2);
  for (const char* point :
       {"checkpoint.read_block=error:3", "checkpoint.write_block=error:2", "durable.write=error:4",
        "durable.sync=error:3", "durable.commit.before_rename=error"}) {
    std::vector<DirectoryImage> images;
    images.push_back(image_of(from, dir_ / "x"));
    failpoint::arm(point);
    WriteProgress progress;
    EXPECT_THROW(writer.write(images, "run", progress), Error) << point;
    failpoint::disarm_all();
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path())) << point;
  }
  std::vector<DirectoryImage> images;
  images.push_back(image_of(from, dir_ / "x"));
  WriteProgress progress;
  writer.write(images, "run", progress);
  durable::verify_directory(dir_ / "x");
}

TEST_F(ImageWriterTest, OfTwoDirectoriesTheFirstStaysWhenTheSecondFails) {
  auto from = sources(1);
  std::vector<DirectoryImage> images;
  images.push_back(image_of(from, dir_ / "x"));
  images.push_back(image_of(from, dir_ / "y"));
  images[1].before_commit = [](durable::FileLayer&) { throw environment_error("no"); };
  ImageWriter writer(durable::system_files(), Device{}, 2 * ImageWriter::kBlock, 2);
  WriteProgress progress;
  EXPECT_THROW(writer.write(images, "run", progress), Error);
  EXPECT_EQ(progress.committed, 1);
  durable::verify_directory(dir_ / "x");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1);
}

TEST_F(ImageWriterTest, ReadsBackEveryBitAndNamesTheFirstDamage) {
  auto from = sources(test::fresh_seed());
  write_plainly(from, dir_ / "x");
  auto into = sources(0);
  TensorFileTarget target{"a/wide.safetensors", {}};
  for (Source& s : into) {
    std::fill(s.values.begin(), s.values.end(), std::numeric_limits<float>::quiet_NaN());
    target.places[s.name] = s.tensor();
  }
  read_tensors(durable::VerifiedDirectory(dir_ / "x"), {target}, Device{}, 3);
  for (std::size_t i = 0; i < from.size(); ++i)
    EXPECT_EQ(std::memcmp(from[i].values.data(), into[i].values.data(), 4 * from[i].values.size()), 0) << i;

  const std::string path = dir_ / "x" + "/a/wide.safetensors";
  std::string text = durable::read_file(path);
  for (const std::size_t at : {text.size() - 1, durable::kChunkBytes + 5}) text[at] ^= 1;
  std::filesystem::remove(path);
  durable::write_file(durable::system_files(), path, text);
  try {
    read_tensors(durable::VerifiedDirectory(dir_ / "x"), {target}, Device{}, 3);
    ADD_FAILURE() << "two flipped bits were not seen";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(e.because().find("at offset " + std::to_string(durable::kChunkBytes)), std::string::npos)
        << e.because();
  }
}

}  // namespace
}  // namespace rlcpp::hub
