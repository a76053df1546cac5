// What of a data set of the hub is trained: all of a subset, whatever the cache held before.
#include <fmt/format.h>

#include "local_hub.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

class HubDataRun : public LocalHub {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void rows(const std::string& repository, const std::string& file, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "{\"prompt\": \"say\", \"completion\": \"a\"}\n";
    server_.file(repository, file, text);
  }
  ProcessOutcome run(const std::string& name, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"--data.name", name, "--dry-run"};
    words.insert(words.end(), more.begin(), more.end());
    return world_->run(world_->sft("out", words));
  }
  void expect_rows(int count, const std::string& name, const std::vector<std::string>& more = {}) const {
    const auto o = run(name, more);
    EXPECT_EQ(o.code, 0) << o.err;
    expect_has(o.out + o.err, {fmt::format("({} rows", count)});
  }
  void expect_refused(const std::vector<std::string>& parts, const std::string& name,
                      const std::vector<std::string>& more = {}) const {
    const auto o = run(name, more);
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, parts);
  }
  static SftWorld* world_;
};
SftWorld* HubDataRun::world_ = nullptr;

TEST_F(HubDataRun, AnInterruptedDownloadIsNotTrainedOn) {
  rows("org/f", "test.jsonl", 2);
  rows("org/f", "train/a.jsonl", 3);
  rows("org/f", "train/b.jsonl", 80);
  for (const std::string& name : {std::string("org/f"), std::string("org/f@") + HubServer::kCommit}) {
    SCOPED_TRACE(name);
    std::filesystem::remove_all(dir_ / "hf");
    expect_rows(2, name, {"--data.splits", "test"});
    server_.fault("b.jsonl", {{Fault::kStatus, 404}});
    expect_refused({"the hub has no org/f", "b.jsonl"}, name);
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect_refused({"is not whole in the Hugging Face cache", "train/b.jsonl"}, name);
    expect_rows(2, name, {"--data.splits", "test"});
    setenv("HF_HUB_OFFLINE", "0", 1);
    server_.fault("b.jsonl", {{}});
    expect_rows(83, name);
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect_rows(83, name);
    setenv("HF_HUB_OFFLINE", "0", 1);
  }
}

TEST_F(HubDataRun, RowsDoNotDependOnWhatTheCacheHolds) {
  rows("org/e", "a/train.jsonl", 3);
  rows("org/e", "b/train.jsonl", 7);
  const std::vector<std::string> parts = {"org/e has several subsets", "there are: a, b", "data.subsets"};
  expect_refused(parts, "org/e");
  expect_rows(3, "org/e", {"--data.subsets", "a"});
  expect_refused(parts, "org/e");
  expect_rows(7, "org/e", {"--data.subsets", "b"});
  // A file of the default subset is taken though the cache has only the others.
  rows("org/d", "data/train-00000-of-00001.jsonl", 5);
  rows("org/d", "alpha/train.jsonl", 2);
  expect_rows(2, "org/d", {"--data.subsets", "alpha"});
  expect_rows(5, "org/d");
  rows("org/m", "data/train-0.jsonl", 5);
  server_.file("org/m", "data/train-1.parquet", "PAR1");
  expect_refused({"in several formats", "data/train-0.jsonl and data/train-1.parquet"}, "org/m");
}

TEST_F(HubDataRun, TheCardSaysWhatSubsetsAre) {
  rows("org/c", "x/1.jsonl", 3);
  rows("org/c", "x/2.jsonl", 4);
  rows("org/c", "y/deep/1.jsonl", 9);
  server_.file("org/c", "README.md",
               "---\nconfigs:\n- config_name: math\n  data_files:\n  - split: train\n    path: x/*.jsonl\n"
               "- config_name: code\n  default: true\n  data_files: y/**\n---\n");
  expect_rows(7, "org/c", {"--data.subsets", "math"});
  expect_rows(9, "org/c");
  setenv("HF_HUB_OFFLINE", "1", 1);
  expect_rows(7, "org/c", {"--data.subsets", "math"});
  setenv("HF_HUB_OFFLINE", "0", 1);
  rows("org/u", "train.jsonl", 6);
  server_.file("org/u", "README.md", "---\nconfigs: &a\n- config_name: math\n---\n");
  const auto o = run("org/u");
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.out + o.err, {"(6 rows", "\"configs\" (line 2", "is not understood and passed over"});
}

}  // namespace
}  // namespace rlcpp::test
