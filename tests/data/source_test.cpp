#include "data/source.h"

#include <fstream>
#include <set>

#include "base/error.h"
#include "data/fake_rl.h"
#include "support.h"
#include "templates.h"

namespace rlcpp::data {
namespace {

class Source : public ::testing::Test {
 protected:
  void SetUp() override {
    tokenizer::train_tokenizer({"abc"}, {}, dir_.path());
    tokenizer_ = std::make_unique<tokenizer::Tokenizer>(tokenizer::Tokenizer::load(dir_.path()));
    std::ofstream file(dir_ / "train.jsonl");
    for (int i = 0; i < 20; ++i) file << "{\"prompt\": \"p" << i << "\", \"completion\": \"c" << i << "\"}\n";
  }
  SftSource source(bool shuffle, std::uint64_t seed, std::size_t cache = 1 << 20) const {
    return SftSource(Dataset::open(dir_.path(), {"train"}), Renderer(*tokenizer_, kChatMl, {}), shuffle, seed,
                     cache);
  }
  static std::vector<std::int64_t> order(SftSource& s, std::int64_t from, std::int64_t count) {
    std::vector<std::int64_t> out;
    for (std::int64_t p = from; p < from + count; ++p) out.push_back(s.at(p).at(0).index);
    return out;
  }
  test::TemporaryDirectory dir_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
};

TEST_F(Source, EachEpochIsAnotherPermutationOfSeedAndEpochAlone) {
  auto a = source(true, 5), b = source(true, 5), other = source(true, 6), plain = source(false, 5);
  const auto first = order(a, 0, 20), second = order(a, 20, 20);
  EXPECT_EQ(std::set<std::int64_t>(first.begin(), first.end()).size(), 20U);
  EXPECT_EQ(std::set<std::int64_t>(second.begin(), second.end()).size(), 20U);
  EXPECT_NE(first, second);
  EXPECT_EQ(order(b, 20, 20), second);  // without having read the first epoch
  EXPECT_EQ(order(a, 0, 20), first);    // and back again
  EXPECT_NE(order(other, 0, 20), first);
  std::vector<std::int64_t> in_order(20);
  for (std::int64_t i = 0; i < 20; ++i) in_order[static_cast<std::size_t>(i)] = i;
  EXPECT_EQ(order(plain, 0, 20), in_order);
  EXPECT_EQ(order(plain, 40, 20), in_order);
}

TEST_F(Source, RowsWithBytesThatTheTokenizerLacksAreCounted) {
  tokenizer::TrainOptions options;
  options.only_seen_bytes = true;
  options.merges = false;
  tokenizer::train_tokenizer({"p0123456789c"}, options, dir_ / "small");
  const auto small = tokenizer::Tokenizer::load(dir_ / "small");
  std::ofstream(dir_ / "train.jsonl", std::ios::app)
      << "\n{\"prompt\": \"p\", \"completion\": \"c\u00fc\"}\n{\"prompt\": \"p\", \"completion\": \"c\"}\n"
      << "{\"prompt\": \"p\u00fc\", \"completion\": \"c\"}\n";
  SftSource rows(Dataset::open(dir_.path(), {"train"}), Renderer(small, kChatMl, {}), false, 0);
  EXPECT_EQ(rows.check(std::size_t{1} << 20), 23);
  EXPECT_EQ(rows.lossy_rows(), 2);
  EXPECT_EQ(rows.first_lossy_row(), (dir_ / "train.jsonl") + ":22");
  EXPECT_EQ(rows.row(20)[0].ids, rows.row(21)[0].ids) << "the byte has left nothing behind";
}

TEST_F(Source, WhatFitsIntoTheCacheIsTheSameAsWhatDoesNot) {
  auto cached = source(true, 1), uncached = source(true, 1, 0);
  EXPECT_EQ(cached.check(std::size_t{1} << 20), 20);
  EXPECT_EQ(uncached.check(100), 3);  // rows of some 40 bytes
  for (std::int64_t p = 0; p < 60; ++p) {
    const auto a = cached.at(p), b = uncached.at(p);
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(a[0].ids, b[0].ids);
    EXPECT_EQ(a[0].mask, b[0].mask);
    EXPECT_EQ(a[0].index, b[0].index);
  }
}

TEST_F(Source, FingerprintTellsDataOrderAndSeed) {
  const auto base = source(true, 1).fingerprint();
  EXPECT_EQ(source(true, 1).fingerprint(), base);
  EXPECT_NE(source(true, 2).fingerprint(), base);
  EXPECT_NE(source(false, 1).fingerprint(), base);
  std::ofstream(dir_ / "train.jsonl", std::ios::app) << "{\"prompt\": \"x\", \"completion\": \"y\"}\n";
  EXPECT_NE(source(true, 1).fingerprint(), base);
}

TEST(FakeSource, LengthsAndIds) {
  FakeOptions options;
  options.vocab_size = 11;
  options.seq_len = 16;
  FakeSource fixed(options);
  for (std::int64_t p : {0, 5, 12}) {
    const Sample s = fixed.at(p).at(0);
    EXPECT_EQ(s.ids, std::vector<std::int32_t>(16, static_cast<std::int32_t>(p % 11)));
    EXPECT_EQ(s.mask[0], 0);
    EXPECT_EQ(std::count(s.mask.begin(), s.mask.end(), 1), 15);
  }
  options.variable_length = options.random_ids = true;
  FakeSource random(options);
  std::set<std::size_t> lengths;
  std::set<std::int32_t> ids;
  for (std::int64_t p = 0; p < 400; ++p) {
    const Sample s = random.at(p).at(0);
    lengths.insert(s.ids.size());
    ids.insert(s.ids.begin(), s.ids.end());
    EXPECT_EQ(random.at(p).at(0).ids, s.ids);
  }
  EXPECT_EQ(lengths.size(), 15U);  // 2 to 16
  EXPECT_EQ(*lengths.begin(), 2U);
  EXPECT_EQ(ids.size(), 11U);
}

TEST(FakeRl, RowsAreFullAndStreamsBelongToTrainedTokens) {
  FakeRlOptions options;
  options.micro_batches = 3;
  options.seq_len = 64;
  options.vocab_size = 1000;
  const auto rows = fake_rl_batches(options, 0);
  ASSERT_EQ(rows.size(), 3U);
  double sum = 0, squares = 0, count = 0;
  for (const auto& row : rows) {
    EXPECT_EQ(row.tokens(), 64);
    EXPECT_EQ(row.documents(), 1);
    EXPECT_TRUE(row.rl);
    for (const auto id : row.ids) EXPECT_LT(id, 100);
    for (std::size_t t = 1; t < 64; ++t) {
      sum += row.advantages[t];
      squares += row.advantages[t] * row.advantages[t];
      ++count;
    }
    EXPECT_EQ(row.advantages[0], 0.0F);
  }
  EXPECT_NEAR(sum / count, 0, 0.35);
  EXPECT_NEAR(squares / count, 1, 0.45);
  EXPECT_NE(rows[0].ids, rows[1].ids);
  EXPECT_NE(fake_rl_batches(options, 1)[0].ids, rows[0].ids);
  EXPECT_EQ(fake_rl_batches(options, 0)[2].ids, rows[2].ids);

  options.generate_samples = true;
  for (const auto& row : fake_rl_batches(options, 0)) {
    EXPECT_EQ(row.tokens(), 64);
    EXPECT_GT(row.documents(), 7);  // at most 8 tokens each
    for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d)
      EXPECT_LE(row.cu_seqlens[d + 1] - row.cu_seqlens[d], 8);
  }

  auto row = rows[0];
  set_inference_logprobs(
      row, [](const MicroBatch& b) { return std::vector<float>(b.ids.size(), -2.0F); }, 0.05, 9);
  EXPECT_EQ(row.inference_logprobs[0], 0.0F);
  double worst = 0;
  for (std::size_t t = 1; t < 64; ++t) worst = std::max(worst, std::abs(row.inference_logprobs[t] + 2.0));
  EXPECT_GT(worst, 0.01);
  EXPECT_LT(worst, 0.4);
}

}  // namespace
}  // namespace rlcpp::data
