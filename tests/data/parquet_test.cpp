// Parquet files by pyarrow (tools/oracle_parquet.py), and what becomes of them when they are damaged. Random
// schemas in fresh files: tests/app/oracle_test.cpp.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/durable.h"
#include "base/error.h"
#include "data/data_files.h"
#include "data/dataset.h"
#include "data/parquet/encodings.h"
#include "data/parquet/rows.h"
#include "data/unpack.h"
#include "data_path.h"
#include "support.h"

namespace rlcpp::data {
namespace {

std::vector<nlohmann::ordered_json> rows_of(const std::string& lines) {
  std::vector<nlohmann::ordered_json> rows;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) rows.push_back(nlohmann::ordered_json::parse(line));
  return rows;
}

TEST(Parquet, EveryCodecEncodingAndShapeOfPyarrow) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::data_path("parquet"))) {
    if (entry.path().extension() != ".parquet") continue;
    ++files;
    const std::string stem = entry.path().stem().string();
    const std::string want =
        test::data_path("parquet/" + (stem.starts_with("chat-") ? "chat" : stem) + ".jsonl");
    SCOPED_TRACE(stem);
    EXPECT_EQ(rows_of(read_data_lines(entry.path().string())), rows_of(durable::read_file(want)));
  }
  EXPECT_GE(files, 13);
}

TEST(Parquet, IsADataset) {
  const test::TemporaryDirectory dir;
  std::filesystem::create_directories(dir / "data");
  std::filesystem::copy_file(test::data_path("parquet/chat-zstd.parquet"),
                             dir / "data/train-00000-of-00001.parquet");
  const Dataset set = Dataset::open(dir.path(), {"train"});
  ASSERT_EQ(set.size(), 40);
  const Conversation row = set.row(0);
  EXPECT_EQ(row.messages[0]["role"], "system");
  EXPECT_EQ(row.variables["tools"][0]["function"]["name"], "now");
  EXPECT_FALSE(row.messages[0].contains("tool_calls"));  // a column that other rows have
  EXPECT_EQ(set.place(3), dir / "data/train-00000-of-00001.parquet:4");
}

std::string refusal(const std::string& file) {
  try {
    parquet::json_lines(file, "x.parquet");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("x.parquet"), std::string::npos) << error.render();
    return error.render();
  }
  return "accepted";
}

TEST(Parquet, WhatIsNoneOrNotAllOfOneIsRefused) {
  EXPECT_NE(refusal("").find("no Parquet file"), std::string::npos);
  EXPECT_NE(refusal("PAR1PAR1").find("no Parquet file"), std::string::npos);
  const std::string whole = durable::read_file(test::data_path("parquet/chat-snappy.parquet"));
  for (std::size_t size = 0; size < whole.size(); size += 97)
    EXPECT_NE(refusal(whole.substr(0, size)).find("no Parquet file"), std::string::npos);
  EXPECT_NE(refusal("PAR1" + std::string("\xff\xff\xff\x7f") + "PAR1").find("footer"), std::string::npos);
}

// Damage is refused, or, where it hits a value, is another value: never a crash, and never other exceptions.
TEST(Parquet, DamagedFilesAreRefusedOrRead) {
  std::mt19937_64 rng(test::fresh_seed());
  const std::vector<std::string> names = {"chat-none", "chat-snappy", "chat-gzip", "chat-zstd",
                                          "chat-v2",   "random-1",    "random-4",  "random-5"};
  int refused = 0;
  const int rounds = test::long_tier() ? 40000 : 1500;
  for (int i = 0; i < rounds; ++i) {
    const std::string& name = names[rng() % names.size()];
    std::string file = durable::read_file(test::data_path("parquet/" + name + ".parquet"));
    for (std::uint64_t hits = rng() % 4 + 1; hits > 0; --hits) {
      // Mostly in the footer, which says how the rest is to be read.
      const std::size_t at =
          rng() % 2 == 0 ? rng() % file.size() : file.size() - 1 - rng() % (file.size() / 4);
      file[at] = rng() % 3 == 0 ? static_cast<char>(rng()) : static_cast<char>(file[at] ^ (1 << rng() % 8));
    }
    SCOPED_TRACE(name);
    refused += refusal(file) != "accepted" ? 1 : 0;
  }
  EXPECT_GT(refused, rounds / 4);
}

TEST(Unpack, SnappyPiecesOfEveryKind) {
  // google/snappy, format_description.txt: a literal, copies with 1, 2 and 4 bytes of offset, one that
  // repeats itself.
  EXPECT_EQ(unpack_snappy(std::string("\x08\x0c"
                                      "abcd"
                                      "\x01\x04",
                                      8),
                          "p", 8),
            "abcdabcd");
  EXPECT_EQ(unpack_snappy(std::string("\x08\x0c"
                                      "abcd"
                                      "\x0e\x04\x00",
                                      9),
                          "p", 8),
            "abcdabcd");
  EXPECT_EQ(unpack_snappy(std::string("\x08\x0c"
                                      "abcd"
                                      "\x0f\x04\x00\x00\x00",
                                      11),
                          "p", 8),
            "abcdabcd");
  EXPECT_EQ(unpack_snappy(std::string("\x09\x00"
                                      "x"
                                      "\x11\x01",
                                      5),
                          "p", 9),
            "xxxxxxxxx");
  const std::string long_text(300, 'y');
  EXPECT_EQ(unpack_snappy(std::string("\xac\x02\xf4\x2b\x01", 5) + long_text, "p", 300), long_text);
  EXPECT_THROW(unpack_snappy(std::string("\x08\x0c"
                                         "abcd"
                                         "\x01\x05",
                                         8),
                             "p", 8),
               Error);  // before the beginning
  EXPECT_THROW(unpack_snappy(std::string("\x08\x0c"
                                         "abcd"
                                         "\x01\x00",
                                         8),
                             "p", 8),
               Error);  // offset 0
  EXPECT_THROW(unpack_snappy(std::string("\x07\x0c"
                                         "abcd"
                                         "\x01\x04",
                                         8),
                             "p", 8),
               Error);  // another size
  EXPECT_THROW(unpack_snappy("", "p", 0), Error);
}

TEST(ParquetEncodings, DifferencesWrapAsTwosComplement) {
  const std::string where = "w";
  // A block of 8 in one part: first 7 (zigzag 14), least difference -2 (zigzag 3), 2 bits each.
  const std::string bytes("\x08\x01\x05\x0e\x03\x02\x1b\x00", 8);  // differences + 2: 3, 2, 1, 0
  parquet::Bytes in(bytes, where);
  EXPECT_EQ(parquet::decode_delta(in, 5), (std::vector<std::int64_t>{7, 8, 8, 7, 5}));
  parquet::Bytes again(bytes, where);
  EXPECT_THROW(parquet::decode_delta(again, 4), Error);  // more than the page has room for
}

TEST(ParquetEncodings, RunsAndPackedGroups) {
  const std::string where = "w";
  // Ten times 4, then a group of eight of 3 bits: 0 to 7 (parquet-format, Encodings.md).
  const std::string bytes("\x14\x04\x03\x88\xc6\xfa", 6);
  parquet::Bytes in(bytes, where);
  EXPECT_EQ(parquet::decode_hybrid(in, 3, 16),
            (std::vector<std::uint32_t>{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(in.left(), 0U);
  parquet::Bytes cut(std::string_view(bytes).substr(0, 4), where);
  EXPECT_THROW(parquet::decode_hybrid(cut, 3, 16), Error);
}

}  // namespace
}  // namespace rlcpp::data
