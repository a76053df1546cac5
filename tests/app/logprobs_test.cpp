// `rlcpp logprobs`, and the rows that `rlcpp sft` dumps, as a user meets them.
#include <nlohmann/json.hpp>

#include <cmath>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class Logprobs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    // A trained model with its tokenizer, and what it was trained on.
    const auto o = world_->run(
        world_->sft("trained", {"--data.dump", *world_ / "rows.jsonl", "--data.micro-batch-size", "2"}));
    EXPECT_EQ(o.code, 0) << o.err;
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::string model() { return *world_ / "trained/weights/step_6"; }
  static std::vector<Json> lines(const std::string& text) {
    std::vector<Json> rows;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) rows.push_back(Json::parse(line));
    return rows;
  }
  static std::vector<std::string> score(const std::string& data, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"logprobs", "--model.name", model(),     "--data", data,
                                      "--device", "cpu",          "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static void refused(const std::string& text, const std::vector<std::string>& parts,
                      const std::vector<std::string>& more = {}) {
    const auto o = world_->run(score(world_->file("bad.jsonl", text), more));
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, parts);
    EXPECT_EQ(o.out, "");
  }
  static SftWorld* world_;
};
SftWorld* Logprobs::world_ = nullptr;

TEST_F(Logprobs, ATextIsItsTokens) {
  const auto o = world_->run(score(world_->file("a.jsonl", "{\"text\": \"say 3\"}\n\n{\"ids\": [5]}\n")));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto rows = lines(o.out);
  ASSERT_EQ(rows.size(), 2U);
  const Json ids = rows[0]["ids"];
  ASSERT_GE(ids.size(), 3U);
  ASSERT_EQ(rows[0]["logprobs"].size(), ids.size());
  EXPECT_TRUE(rows[0]["logprobs"][0].is_null());
  for (std::size_t t = 1; t < ids.size(); ++t) EXPECT_LT(rows[0]["logprobs"][t].get<double>(), 0);
  EXPECT_EQ(rows[1]["logprobs"], Json::array({nullptr}));
  const auto same = world_->run(score(world_->file("b.jsonl", Json{{"ids", ids}}.dump() + "\n")));
  EXPECT_EQ(lines(same.out)[0], rows[0]);
}

// Probabilities of all continuations of one prefix add up to one, however the rows are packed.
TEST_F(Logprobs, ContinuationsAddUpToOne) {
  std::string data;
  const int vocabulary = Json::parse(slurp(model() + "/config.json"))["vocab_size"].get<int>();
  for (int id = 0; id < vocabulary; ++id) data += Json{{"ids", {4, 9, id}}}.dump() + "\n";
  const std::string path = world_->file("all.jsonl", data);
  const auto packed = world_->run(score(path, {"--seq-len", "50"})),
             alone = world_->run(score(path, {"--seq-len", "3"}));
  ASSERT_EQ(packed.code, 0) << packed.err;
  EXPECT_EQ(packed.out, alone.out);
  double sum = 0;
  for (const Json& row : lines(packed.out)) sum += std::exp(row["logprobs"][2].get<double>());
  EXPECT_NEAR(sum, 1, 1e-4);
}

TEST_F(Logprobs, WritesAFileAndASummary) {
  const std::string path = world_->file("c.jsonl", "{\"ids\": [1, 2, 3]}\n{\"ids\": [2, 2]}\n");
  const auto o = world_->run(score(path, {"--out", *world_ / "scores.jsonl", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json summary = Json::parse(o.out);
  double sum = 0;
  for (const Json& row : lines(slurp(*world_ / "scores.jsonl"))) {
    for (const Json& value : row["logprobs"]) sum += value.is_null() ? 0 : value.get<double>();
  }
  EXPECT_EQ(summary["rows"], 2);
  EXPECT_EQ(summary["tokens"], 5);
  EXPECT_NEAR(summary["mean_logprob"].get<double>(), sum / 3, 1e-6);
}

TEST_F(Logprobs, RefusesWhatItCannotScore) {
  refused("{\"ids\": [1, 99999]}\n", {"bad.jsonl:1: token id 99999 is outside", "vocabulary"});
  refused("{\"ids\": [1]}\n{\"ids\": [1, -2]}\n", {"bad.jsonl:2: ids is no list of token ids"});
  refused("{\"ids\": 7}\n", {"bad.jsonl:1: ids is no list"});
  refused("{\"prompt\": \"a\"}\n", {"neither ids nor text"});
  refused("[1, 2]\n", {"bad.jsonl:1 is no JSON object"});
  refused("{\"ids\": []}\n", {"the row has no token"});
  refused("\n", {"has no row"});
  const std::string texts = "{\"ids\": [1, 2]}\n";
  refused(texts, {"--out names the file of --data"}, {"--out", *world_ / "bad.jsonl"});
  EXPECT_EQ(slurp(*world_ / "bad.jsonl"), texts);
  refused("{\"ids\": [1, 2, 3]}\n", {"longer than seq_len", "--seq-len 3"}, {"--seq-len", "2"});
}

TEST_F(Logprobs, DumpedRowsAreTheStepsRows) {
  const auto steps = lines(slurp(*world_ / "rows.jsonl"));
  const auto metrics = world_->metrics("trained");
  ASSERT_EQ(steps.size(), 6U);
  double tokens = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i]["step"], i + 1);
    ASSERT_EQ(steps[i]["rows"].size(), 2U);  // four rows in micro-batches of two
    for (const Json& row : steps[i]["rows"]) {
      const Json& bounds = row["cu_seqlens"];
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), row["ids"].size());
      EXPECT_EQ(row["mask"].size(), row["ids"].size());
      for (std::size_t d = 0; d + 1 < bounds.size(); ++d) {
        EXPECT_LT(bounds[d].get<int>(), bounds[d + 1].get<int>());
        EXPECT_EQ(row["mask"][bounds[d].get<std::size_t>()], 0);
      }
      tokens += static_cast<double>(row["ids"].size());
    }
    EXPECT_EQ(metrics[i]["progress/num_tokens"].get<double>(), tokens);
  }
}

}  // namespace
}  // namespace rlcpp::test
