// Which files are a split, and how their rows are read.
#include "data/data_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "data/dataset.h"
#include "support.h"

namespace rlcpp::data {
namespace {

using Names = std::vector<std::string>;

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

Names match(const Names& names, const std::string& subset, const std::string& split) {
  return match_data_files(names, {subset, split}, "set");
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
  return "accepted";
}

void expect_refused(const std::function<void()>& call, const std::string& part) {
  const std::string text = refusal(call);
  EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(DataFiles, NamesAsTheHubsAre) {
  const Names shards = {"README.md",
                        "data/train-00001-of-00002.parquet",
                        "data/train-00000-of-00002.parquet",
                        "data/test-00000-of-00001.parquet",
                        "dataset_infos.json",
                        ".gitattributes"};
  EXPECT_EQ(match(shards, "", "train"),
            (Names{"data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"}));
  EXPECT_EQ(match(shards, "", "test"), (Names{"data/test-00000-of-00001.parquet"}));
  EXPECT_EQ(match({"train.jsonl", "more/train.jsonl", "train-extra.jsonl"}, "", "train"),
            (Names{"train.jsonl"}));
  EXPECT_EQ(match({"train/a.jsonl", "train/b.jsonl", "dev/a.jsonl"}, "", "train"),
            (Names{"train/a.jsonl", "train/b.jsonl"}));
  EXPECT_EQ(match({"train/a.jsonl", "dev/a.jsonl"}, "", "validation"), (Names{"dev/a.jsonl"}));
  EXPECT_EQ(match({"rows.jsonl", "other.jsonl"}, "", "train"), (Names{"other.jsonl", "rows.jsonl"}));
  EXPECT_EQ(match({"main/train.jsonl", "socratic/train.jsonl", "main/test.jsonl"}, "main", "train"),
            (Names{"main/train.jsonl"}));
  EXPECT_EQ(match({"data/en-train.jsonl", "data/english-train.jsonl"}, "en", "train"),
            (Names{"data/en-train.jsonl"}));
  EXPECT_EQ(match({"my_train.jsonl", "strain.jsonl", "x-train.jsonl"}, "", "train"),
            (Names{"my_train.jsonl", "x-train.jsonl"}));
}

TEST(DataFiles, SayWhatIsThere) {
  expect_refused([] { match({"test.jsonl", "README.md"}, "", "train"); }, "there are: test.jsonl");
  expect_refused([] { match({"README.md"}, "", "train"); }, "there is no .jsonl");
  expect_refused([] { match({"a/train.jsonl"}, "b", "train"); }, "no split \"train\" of a subset \"b\"");
  expect_refused([] { match({"rows.jsonl"}, "", "validation"); }, "no split \"validation\"");
}

TEST(DataFiles, PartsAreSubsetsWithSplits) {
  const auto text = [](const Names& subsets, const Names& splits) {
    std::string all;
    for (const DataPart& part : parts_of(subsets, splits)) all += part.subset + ":" + part.split + " ";
    return all;
  };
  EXPECT_EQ(text({}, {"train", "test"}), ":train :test ");
  EXPECT_EQ(text({"a", "b"}, {"train"}), "a:train b:train ");
  EXPECT_EQ(text({"a", "b"}, {"train", "test"}), "a:train b:test ");
  expect_refused([] { parts_of({"a"}, {"train", "test"}); }, "1 subsets, 2 splits");
  expect_refused([] { parts_of({"a"}, {}); }, "data.splits is empty");
}

TEST(DataFiles, SeveralSubsetsAreNotMixedUnasked) {
  const Names two = {"b/train.jsonl", "a/train.jsonl", "a/test.jsonl"};
  expect_refused([&] { match(two, "", "train"); }, "several subsets with a split \"train\"");
  expect_refused([&] { match(two, "", "train"); }, "there are: a, b");
  expect_refused([&] { match(two, "", "train"); }, "name one in data.subsets, such as [\"a\"]");
  expect_refused([&] { match(two, "default", "train"); }, "there are: a, b");
  EXPECT_EQ(match(two, "b", "train"), (Names{"b/train.jsonl"}));
  EXPECT_EQ(match(two, "", "test"), (Names{"a/test.jsonl"}));
  expect_refused([&] { match({"a/x.jsonl", "b/y.jsonl"}, "", "train"); }, "there are: a, b");
  // The default.
  EXPECT_EQ(match({"a/train.jsonl", "default/train.jsonl"}, "", "train"), (Names{"default/train.jsonl"}));
  const Names d = {"alpha/train-00000-of-00001.parquet", "beta/train.jsonl", "data/train-0.parquet"};
  EXPECT_EQ(match(d, "", "train"), (Names{"data/train-0.parquet"}));
  EXPECT_EQ(match(d, "default", "train"), (Names{"data/train-0.parquet"}));
  EXPECT_EQ(match({"a/train.jsonl", "x-train.jsonl"}, "", "train"), (Names{"x-train.jsonl"}));
  // Folders of a split are no subsets, nor is what they are divided into.
  EXPECT_EQ(match({"train/x/0.jsonl", "train/y/0.jsonl", "data/test/0.jsonl"}, "", "train"),
            (Names{"train/x/0.jsonl", "train/y/0.jsonl"}));
  expect_refused(
      [&] {
        match({"data/x/train/0.jsonl", "data/y/train/0.jsonl"}, "", "train");
      },
      "there are: x, y");
}

TEST(DataFiles, SeveralFormatsAreNotChosenFrom) {
  expect_refused(
      [] {
        match({"a-train.parquet", "b-train.jsonl.zst"}, "", "train");
      },
      "split \"train\" in several formats\n  because there are a-train.parquet and b-train.jsonl.zst");
  expect_refused(
      [] {
        match({"x/train-0.jsonl", "x/train-1.parquet"}, "x", "train");
      },
      "of the subset \"x\" in several formats");
  expect_refused([] { match({"train.jsonl", "train.json"}, "", "train"); }, "in several formats");
  expect_refused([] { match({"train.jsonl", "data/train-0.parquet"}, "", "train"); }, "in several formats");
  EXPECT_EQ(match({"train.jsonl", "data/train-0.parquet"}, "data", "train"), (Names{"data/train-0.parquet"}));
  EXPECT_EQ(match({"train.jsonl", "train_results.json"}, "", "train"), (Names{"train.jsonl"}));
}

TEST(DataFiles, ASplitOfSeveralWords) {
  const Names names = {"data/train_sft-0.parquet", "data/train_gen-0.parquet", "data/test_sft-0.parquet"};
  EXPECT_EQ(match(names, "", "train_sft"), (Names{"data/train_sft-0.parquet"}));
  EXPECT_EQ(match({"train_sft.jsonl"}, "", "train_sft"), (Names{"train_sft.jsonl"}));
}

TEST(DataLines, EveryFormat) {
  const test::TemporaryDirectory dir;
  write(dir / "a.jsonl", "{\"a\": 1}\n{\"a\": 2}\n");
  EXPECT_EQ(read_data_lines(dir / "a.jsonl"), "{\"a\": 1}\n{\"a\": 2}\n");
  write(dir / "a.json", " [{\"b\": 1, \"a\": \"x\\ny\"},\n {}]\n");
  EXPECT_EQ(read_data_lines(dir / "a.json"), "{\"b\":1,\"a\":\"x\\ny\"}\n{}\n");
  write(dir / "lines.json", "{\"a\": 1}\n{\"a\": 2}\n");
  EXPECT_EQ(read_data_lines(dir / "lines.json"), "{\"a\": 1}\n{\"a\": 2}\n");
  write(dir / "bad.json", "[{\"a\": 1}");
  expect_refused([&] { read_data_lines(dir / "bad.json"); }, "bad.json is no valid JSON");
  write(dir / "a.parquet", "PAR1");
  expect_refused([&] { read_data_lines(dir / "a.parquet"); }, "a.parquet is no Parquet file");
}

TEST(DataLines, Zstd) {
  const test::TemporaryDirectory dir;
  // RFC 8878: magic, a frame header with the content's size in one byte, one raw block that is the last.
  const auto frame = [](const std::string& text) {
    const auto header = static_cast<std::uint32_t>(text.size() << 3 | 1U);
    std::string bytes("\x28\xb5\x2f\xfd\x20", 5);
    bytes.push_back(static_cast<char>(text.size()));
    for (int i = 0; i < 3; ++i) bytes.push_back(static_cast<char>(header >> (8 * i)));
    return bytes + text;
  };
  const std::string packed = frame("{\"a\": 1}\n") + frame("{\"a\": 2}\n");
  write(dir / "a.jsonl.zst", packed);
  EXPECT_EQ(read_data_lines(dir / "a.jsonl.zst"), "{\"a\": 1}\n{\"a\": 2}\n");
  write(dir / "a.json.zst", frame("[{\"a\":1}]"));
  EXPECT_EQ(read_data_lines(dir / "a.json.zst"), "{\"a\":1}\n");
  // A run: a block of one byte that is repeated, 100,000 times.
  const std::uint32_t run = 100000U << 3 | 1U << 1 | 1U;
  std::string long_frame("\x28\xb5\x2f\xfd\xa0", 5);
  for (int i = 0; i < 4; ++i) long_frame.push_back(static_cast<char>(100000U >> (8 * i)));
  for (int i = 0; i < 3; ++i) long_frame.push_back(static_cast<char>(run >> (8 * i)));
  write(dir / "run.jsonl.zst", long_frame + "x");
  EXPECT_EQ(read_data_lines(dir / "run.jsonl.zst"), std::string(100000, 'x'));
  for (std::size_t size = 1; size < packed.size(); ++size) {
    if (size == packed.size() / 2) continue;  // a whole frame
    write(dir / "cut.jsonl.zst", packed.substr(0, size));
    expect_refused([&] { read_data_lines(dir / "cut.jsonl.zst"); }, "cut.jsonl.zst cannot be unpacked");
  }
  write(dir / "no.jsonl.zst", "this is no zstd");
  expect_refused([&] { read_data_lines(dir / "no.jsonl.zst"); }, "no.jsonl.zst cannot be unpacked");
}

TEST(DataLines, ADatasetOfFolders) {
  const test::TemporaryDirectory dir;
  const auto row = [](int i) {
    return "{\"prompt\": \"p" + std::to_string(i) + "\", \"completion\": \"c\"}";
  };
  write(dir / "main/train-00000-of-00002.jsonl", row(0) + "\n" + row(1) + "\n");
  write(dir / "main/train-00001-of-00002.jsonl", row(2) + "\n");
  write(dir / "extra/train.json", "[" + row(3) + "]");
  write(dir / "extra/validation.json", "[" + row(4) + "]");
  const auto main = Dataset::open(dir.path(), {"train"}, "data.name", {"main"});
  ASSERT_EQ(main.size(), 3);
  EXPECT_EQ(main.row(2).messages[0]["content"], "p2");
  const auto both = Dataset::open(dir.path(), {"train", "validation"}, "data.name", {"main", "extra"});
  ASSERT_EQ(both.size(), 4);
  EXPECT_EQ(both.row(3).messages[0]["content"], "p4");
}

}  // namespace
}  // namespace rlcpp::data
