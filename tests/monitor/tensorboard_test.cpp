#include "monitor/tensorboard.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <regex>

#include "base/durable_fixture.h"
#include "support.h"

namespace rlcpp::monitor {
namespace {

using test::FastDirectory;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

// Bytes that TensorBoard's own RecordWriter made of the same events (tools/check_tensorboard.py --vectors,
// version 2.21.0).
TEST(Tensorboard, RecordsAreThoseOfTensorboardsOwnWriter) {
  EXPECT_EQ(hex(tensorboard_header(1700000000.25)),
            "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9");
  EXPECT_EQ(
      hex(tensorboard_record(1700000001.5, 300, {{"loss/mean", 1.25}})),
      "200000000000000029eda9500900006040fc54d94110ac022a120a100a096c6f73732f6d65616e150000a03f2f236841");
}

TEST(Tensorboard, WhatIsWrittenIsReadBack) {
  std::mt19937_64 random(test::fresh_seed());
  std::string text = tensorboard_header(5.5);
  std::vector<std::vector<std::pair<std::string, double>>> written;
  for (int i = 0; i < 50; ++i) {
    auto& scalars = written.emplace_back();
    for (std::uint64_t k = random() % 60; k > 0; --k) {
      scalars.emplace_back(
          "tag/" + std::string(random() % 200, 'x') + std::to_string(k),
          std::ldexp(static_cast<double>(random() % 1000), static_cast<int>(random() % 20) - 10));
    }
    text += tensorboard_record(i + 0.125, std::int64_t{1} << i, scalars);
  }
  std::size_t valid = 0;
  const auto records = read_tensorboard(text, &valid);
  EXPECT_EQ(valid, text.size());
  ASSERT_EQ(records.size(), 51U);
  EXPECT_EQ(records[0].event.file_version, "brain.Event:2");
  EXPECT_EQ(records[0].event.wall_time, 5.5);
  for (std::size_t i = 0; i < written.size(); ++i) {
    const TensorboardEvent& event = records[i + 1].event;
    EXPECT_EQ(event.step, std::int64_t{1} << i);
    EXPECT_EQ(event.wall_time, static_cast<double>(i) + 0.125);
    ASSERT_EQ(event.scalars.size(), written[i].size());
    for (std::size_t k = 0; k < written[i].size(); ++k) {
      EXPECT_EQ(event.scalars[k].first, written[i][k].first);
      EXPECT_EQ(event.scalars[k].second, static_cast<float>(written[i][k].second));
    }
  }
}

TEST(Tensorboard, ReadingEndsAtTheFirstDamage) {
  const std::string first = tensorboard_header(1) + tensorboard_record(2, 1, {{"a", 1}});
  const std::string text =
      first + tensorboard_record(3, 2, {{"a", 2}}) + tensorboard_record(4, 3, {{"a", 3}});
  const std::size_t second_end = first.size() + tensorboard_record(3, 2, {{"a", 2}}).size();
  std::size_t valid = 0;
  for (std::size_t i = first.size(); i < second_end; ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    EXPECT_EQ(read_tensorboard(bad, &valid).size(), 2U) << i;
    EXPECT_EQ(valid, first.size());
  }
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const std::string cut = text.substr(0, length);
    (void)read_tensorboard(cut, &valid);
    EXPECT_LE(valid, length);
    if (length >= first.size() && length < second_end) {
      EXPECT_EQ(valid, first.size());
    }
  }
}

TEST(TensorboardFile, IsNamedAsTensorboardExpectsAndCutOnResume) {
  const FastDirectory dir;
  std::string first_path;
  {
    TensorboardFile file(durable::system_files(), dir / "tensorboard", 0);
    first_path = file.path();
    for (int step = 0; step < 6; ++step) file.write(step, step, {{"a", step}});
    file.sync();
  }
  const std::regex name(R"(events\.out\.tfevents\.\d{10}\.[^/]+\.)" + std::to_string(getpid()) + R"(\.0)");
  EXPECT_TRUE(std::regex_match(std::filesystem::path(first_path).filename().string(), name)) << first_path;
  {
    std::ofstream torn(first_path, std::ios::app | std::ios::binary);
    torn << tensorboard_record(9, 1, {{"a", 9}}).substr(0, 20);
  }
  const TensorboardFile second(durable::system_files(), dir / "tensorboard", 4);
  EXPECT_NE(second.path(), first_path);
  const std::string text = durable::read_file(first_path);
  std::size_t valid = 0;
  const auto records = read_tensorboard(text, &valid);
  EXPECT_EQ(valid, text.size());
  ASSERT_EQ(records.size(), 5U);
  EXPECT_EQ(records.back().event.step, 3);
}

}  // namespace
}  // namespace rlcpp::monitor
