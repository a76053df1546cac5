#include "data/packer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "data/loader.h"
#include "support.h"

namespace rlcpp::data {
namespace {

// Documents of given lengths; the ids say which document and which place they are, so that a packed row can
// be read back.
class LengthSource : public SampleSource {
 public:
  explicit LengthSource(std::vector<std::int64_t> lengths, std::int64_t parts = 1)
      : lengths_(std::move(lengths)), parts_(parts) {}
  std::vector<Sample> at(std::int64_t position) override {
    std::vector<Sample> out;
    for (std::int64_t part = 0; part < parts_; ++part) {
      Sample s;
      const auto length =
          static_cast<std::size_t>(lengths_[static_cast<std::size_t>((position + part) % rows())]);
      for (std::size_t t = 0; t < length; ++t)
        s.ids.push_back(static_cast<std::int32_t>(position * 8 + part));
      s.mask.assign(length, 1);
      s.mask[0] = 0;
      s.index = position * 8 + part;
      out.push_back(std::move(s));
    }
    return out;
  }
  std::int64_t rows() const override { return static_cast<std::int64_t>(lengths_.size()); }
  std::string fingerprint() const override { return "lengths " + std::to_string(lengths_.size()); }

 private:
  std::vector<std::int64_t> lengths_;
  std::int64_t parts_;
};

// The best sum that contains item 0 and is at most capacity, by trying all subsets.
std::int64_t best_sum(const std::vector<std::int64_t>& lengths, std::int64_t capacity) {
  std::int64_t best = 0;
  for (std::uint32_t subset = 1; subset < (1U << lengths.size()); subset += 2) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if ((subset >> i & 1U) != 0) sum += lengths[i];
    }
    if (sum <= capacity) best = std::max(best, sum);
  }
  return best;
}

// A row of buckets is what the reference would have padded: every sample in a bucket that holds it, the
// buckets' lengths within the capacity, and the first sample in it unless another bucket was full before.
TEST(ChooseStack, RowsAreOfLikeLengthAndFitWithTheirPadding) {
  std::mt19937_64 rng(test::fresh_seed());
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t capacity = 256 * (1 + static_cast<std::int64_t>(rng() % 16));
    std::vector<std::int64_t> lengths;
    for (std::uint64_t n = 1 + rng() % 60; n > 0; --n)
      lengths.push_back(1 + static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(capacity)));
    const std::vector<std::size_t> row = choose_stack(lengths, capacity);
    ASSERT_FALSE(row.empty());
    EXPECT_TRUE(std::is_sorted(row.begin(), row.end()));
    std::vector<std::int64_t> sizes;
    for (std::int64_t size = capacity; size % 256 == 0; size /= 2) sizes.push_back(size);
    std::int64_t longest = 0;
    for (const std::size_t i : row) longest = std::max(longest, lengths[i]);
    // The smallest bucket that holds the longest is filled at most.
    std::int64_t bucket = capacity;
    for (const std::int64_t size : sizes) bucket = size >= longest ? size : bucket;
    EXPECT_LE(bucket * static_cast<std::int64_t>(row.size()), capacity);
    if (row[0] == 0) continue;
    // Another bucket was chosen, so it was full of samples that need no larger one.
    EXPECT_EQ(bucket * static_cast<std::int64_t>(row.size()), capacity);
    for (const std::size_t i : row) EXPECT_TRUE(bucket / 2 < lengths[i] || bucket == sizes.back());
  }
  // 2048: buckets of 256, 512, 1024, 2048.
  EXPECT_EQ(choose_stack(std::vector<std::int64_t>{700, 100, 900, 2000}, 2048),
            (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(choose_stack(std::vector<std::int64_t>{100, 300, 90}, 2048), (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(choose_stack(std::vector<std::int64_t>{100, 2000, 90}, 2048), (std::vector<std::size_t>{1}));
}

TEST(Packer, StackPacksEverySampleOnceAndResumes) {
  std::mt19937_64 rng(test::fresh_seed());
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < 200; ++i) lengths.push_back(2 + static_cast<std::int64_t>(rng() % 1500));
  LengthSource source(lengths);
  Packer packer(source, 1024, 64, PackFunction::kStack);
  std::map<std::int64_t, int> seen;
  std::string middle;
  std::vector<std::vector<std::int64_t>> rows;
  while (auto row = packer.next_row_until(200)) {
    std::vector<std::int64_t> indices;
    for (const Sample& sample : *row) {
      ++seen[sample.index];
      EXPECT_LE(sample.ids.size(), 1024U);
      indices.push_back(sample.index);
    }
    rows.push_back(indices);
    if (rows.size() == 40) middle = packer.state();
  }
  EXPECT_EQ(seen.size(), 200U);
  for (const auto& [index, count] : seen) EXPECT_EQ(count, 1) << index;
  ASSERT_GT(rows.size(), 60U);
  Packer resumed(source, 1024, 64, PackFunction::kStack);
  resumed.restore(middle);
  for (std::size_t r = 40; r < rows.size(); ++r) {
    const auto row = resumed.next_row_until(200);
    ASSERT_TRUE(row.has_value());
    std::vector<std::int64_t> indices;
    for (const Sample& sample : *row) indices.push_back(sample.index);
    EXPECT_EQ(indices, rows[r]);
  }
}

TEST(ChooseRow, IsTheBestSubsetThatContainsTheFirst) {
  std::mt19937_64 rng(test::fresh_seed());
  for (int round = 0; round < 400; ++round) {
    const std::int64_t capacity = 1 + static_cast<std::int64_t>(rng() % 60);
    std::vector<std::int64_t> lengths(1 + rng() % 10);
    for (auto& l : lengths) l = 1 + static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(capacity));
    const auto chosen = choose_row(lengths, capacity);
    ASSERT_FALSE(chosen.empty());
    EXPECT_EQ(chosen.front(), 0U);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    EXPECT_EQ(std::set<std::size_t>(chosen.begin(), chosen.end()).size(), chosen.size());
    std::int64_t sum = 0;
    for (const auto i : chosen) sum += lengths.at(i);
    EXPECT_EQ(sum, best_sum(lengths, capacity));
  }
}

TEST(ChooseRow, FullRowNeedsNoOthers) {
  EXPECT_EQ(choose_row(std::vector<std::int64_t>{7, 1, 2}, 7), (std::vector<std::size_t>{0}));
  EXPECT_EQ(choose_row(std::vector<std::int64_t>{3, 5, 4}, 7), (std::vector<std::size_t>{0, 2}));
}

TEST(Packer, EveryTokenOnceAndNoRowTooLong) {
  std::mt19937_64 rng(test::fresh_seed());
  std::vector<std::int64_t> lengths(500);
  for (auto& l : lengths) l = 2 + static_cast<std::int64_t>(rng() % 90);  // some longer than a row of 64
  LengthSource source(lengths, 2);
  Packer packer(source, 64, 16);
  std::map<std::int64_t, std::int64_t> seen;
  std::int64_t tokens = 0, rows = 0;
  while (auto row = packer.next_row_until(source.rows())) {
    std::int64_t sum = 0;
    for (const Sample& s : *row) {
      const auto length = static_cast<std::int64_t>(s.ids.size());
      EXPECT_EQ(s.mask.size(), s.ids.size());
      EXPECT_TRUE(seen.emplace(s.index, length).second) << "document twice";
      for (const auto id : s.ids) ASSERT_EQ(id, s.index);
      sum += length;
    }
    EXPECT_LE(sum, 64);
    tokens += sum;
    ++rows;
  }
  EXPECT_EQ(seen.size(), 1000U);
  std::int64_t cut = 0, expected = 0;
  for (std::int64_t p = 0; p < 500; ++p) {
    for (std::int64_t part = 0; part < 2; ++part) {
      const std::int64_t length = lengths[static_cast<std::size_t>((p + part) % 500)];
      cut += length > 64 ? 1 : 0;
      expected += std::min<std::int64_t>(length, 64);
      EXPECT_EQ(seen.at(p * 8 + part), std::min<std::int64_t>(length, 64));
    }
  }
  EXPECT_EQ(packer.statistics().cut, cut);
  EXPECT_EQ(packer.statistics().tokens, expected);
  EXPECT_EQ(tokens, expected);
  EXPECT_EQ(packer.statistics().rows, rows);
  EXPECT_EQ(packer.statistics().samples, 1000);
}

TEST(Packer, NothingWaitsLongerThanTheLookAhead) {
  // One document of 60 among many of 8: it never fills a gap, and still comes out when it is the oldest.
  std::vector<std::int64_t> lengths(200, 8);
  lengths[3] = 60;
  LengthSource source(lengths);
  Packer packer(source, 64, 16);
  for (int row = 0; row < 4; ++row) {
    for (const Sample& s : packer.next_row()) {
      if (s.index == 3 * 8) return;
    }
  }
  FAIL() << "the long document was overtaken for more than its turn";
}

double padding_of(const std::function<double()>& draw, std::int64_t seq_len, std::size_t count) {
  std::vector<std::int64_t> lengths(count);
  for (auto& l : lengths) l = std::clamp<std::int64_t>(std::llround(draw()), 2, seq_len);
  LengthSource source(lengths);
  Packer packer(source, seq_len);
  // An unfinished epoch: the tail of a data set is not padding, the next epoch fills it.
  const auto rows = static_cast<std::int64_t>(count * 100 / static_cast<std::size_t>(seq_len));
  for (std::int64_t i = 0; i < std::max<std::int64_t>(rows, 50); ++i) packer.next_row();
  return packer.padding();
}

TEST(Packer, PaddingStaysUnderTwoPercentOnRealisticLengths) {
  std::mt19937_64 rng(test::fresh_seed());
  std::lognormal_distribution<double> chats(std::log(350), 0.8), reasoning(std::log(2500), 0.7),
      short_rows(std::log(40), 0.35);
  std::uniform_real_distribution<double> uniform(20, 1000);
  EXPECT_LT(padding_of([&] { return chats(rng); }, 2048, 4000), 0.02);
  EXPECT_LT(padding_of([&] { return chats(rng); }, 4096, 4000), 0.02);
  EXPECT_LT(padding_of([&] { return reasoning(rng); }, 16384, 4000), 0.02);
  EXPECT_LT(padding_of([&] { return short_rows(rng); }, 512, 4000), 0.02);
  EXPECT_LT(padding_of([&] { return uniform(rng); }, 2048, 4000), 0.02);
}

TEST(Packer, NoSampleAgainBeforeAllOfItsEpochWere) {
  std::mt19937_64 rng(test::fresh_seed());
  for (int round = 0; round < 40; ++round) {
    // Data sets from much smaller than a row to much larger than the look-ahead.
    std::vector<std::int64_t> lengths(1 + rng() % 60);
    for (auto& l : lengths) l = 2 + static_cast<std::int64_t>(rng() % 40);
    const auto count = static_cast<std::int64_t>(lengths.size());
    LengthSource source(lengths, 1 + round % 2);
    const std::int64_t parts = 1 + round % 2;
    Packer packer(source, 64 + static_cast<std::int64_t>(rng() % 200), 1 + rng() % 16);
    std::map<std::int64_t, std::int64_t> times;  // by row of the data set
    std::int64_t handed_out = 0;
    for (int i = 0; i < 80; ++i) {
      for (const Sample& s : packer.next_row()) {
        const std::int64_t position = s.index / 8;
        ASSERT_EQ(position / count, handed_out / parts / count) << "round " << round;
        ++handed_out;
        ++times[position];
      }
      const auto complete =
          std::count_if(times.begin(), times.end(), [&](const auto& t) { return t.second == parts; });
      ASSERT_DOUBLE_EQ(packer.epoch(), static_cast<double>(complete) / static_cast<double>(count));
    }
  }
}

TEST(Packer, FewRowsFillARowAllTheSame) {
  LengthSource source(std::vector<std::int64_t>(12, 10));
  Packer packer(source, 256);
  const auto row = packer.next_row();
  EXPECT_EQ(row.size(), 25U);  // twice all twelve, and one
  EXPECT_DOUBLE_EQ(packer.epoch(), 25.0 / 12);
}

TEST(Packer, RestoresFromAnyRow) {
  std::mt19937_64 rng(test::fresh_seed());
  std::vector<std::int64_t> lengths(37);
  for (auto& l : lengths) l = 2 + static_cast<std::int64_t>(rng() % 50);
  LengthSource source(lengths, 2);
  Packer whole(source, 48, 8);
  std::vector<std::string> states = {whole.state()};
  std::vector<std::vector<std::int64_t>> rows;
  for (int i = 0; i < 60; ++i) {
    std::vector<std::int64_t> row;
    for (const Sample& s : whole.next_row()) row.push_back(s.index);
    rows.push_back(row);
    states.push_back(whole.state());
  }
  for (std::size_t from = 0; from < 60; from += 7) {
    Packer resumed(source, 48, 8);
    resumed.restore(states[from]);
    EXPECT_EQ(resumed.state(), states[from]);
    for (std::size_t i = from; i < 60; ++i) {
      std::vector<std::int64_t> row;
      for (const Sample& s : resumed.next_row()) row.push_back(s.index);
      ASSERT_EQ(row, rows[i]) << "from " << from << " row " << i;
      ASSERT_EQ(resumed.state(), states[i + 1]);
    }
  }
}

TEST(Packer, RefusesTheCursorOfOtherData) {
  LengthSource first({5, 6, 7}), second({5, 6, 7, 8});
  Packer a(first, 16), b(second, 16);
  a.next_row();
  try {
    b.restore(a.state());
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.because()).find("lengths 3"), std::string::npos);
  }
  EXPECT_THROW(a.restore("{\"data\": 3}"), Error);
  EXPECT_THROW(a.restore("nonsense"), Error);
}

TEST(Packer, RefusesDataWithNothingToTrainInARow) {
  class Late : public LengthSource {
   public:
    Late() : LengthSource({20, 20}) {}
    std::vector<Sample> at(std::int64_t position) override {
      auto samples = LengthSource::at(position);
      for (auto& s : samples) std::fill(s.mask.begin(), s.mask.begin() + 16, 0);
      return samples;
    }
  } source;
  Packer packer(source, 16);
  EXPECT_THROW(packer.next_row(), Error);
}

TEST(MicroBatches, GroupRowsWithoutMixingDocuments) {
  LengthSource source({3, 5, 4, 6, 2, 7});
  Packer packer(source, 9, 6);
  std::vector<std::vector<Sample>> rows;
  for (int i = 0; i < 4; ++i) rows.push_back(packer.next_row());
  const auto singles = make_micro_batches(rows, 1), pairs = make_micro_batches(rows, 2);
  ASSERT_EQ(singles.size(), 4U);
  ASSERT_EQ(pairs.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    std::vector<std::int32_t> ids = singles[2 * i].ids;
    ids.insert(ids.end(), singles[2 * i + 1].ids.begin(), singles[2 * i + 1].ids.end());
    EXPECT_EQ(pairs[i].ids, ids);
    EXPECT_EQ(pairs[i].documents(), singles[2 * i].documents() + singles[2 * i + 1].documents());
    EXPECT_EQ(pairs[i].loss_tokens(), singles[2 * i].loss_tokens() + singles[2 * i + 1].loss_tokens());
    EXPECT_EQ(pairs[i].cu_seqlens.back(), pairs[i].tokens());
    for (std::size_t d = 0; d + 1 < pairs[i].cu_seqlens.size(); ++d) {
      const auto begin = static_cast<std::size_t>(pairs[i].cu_seqlens[d]);
      EXPECT_EQ(pairs[i].positions[begin], 0);
      EXPECT_EQ(pairs[i].mask[begin], 0);
      for (auto t = begin; t < static_cast<std::size_t>(pairs[i].cu_seqlens[d + 1]); ++t) {
        EXPECT_EQ(pairs[i].ids[t], pairs[i].ids[begin]);
        EXPECT_EQ(pairs[i].positions[t], static_cast<std::int32_t>(t - begin));
      }
    }
  }
}

TEST(BatchLoader, ResumesBehindAnyBatchWhateverWasPrepared) {
  std::mt19937_64 rng(test::fresh_seed());
  std::vector<std::int64_t> lengths(23);
  for (auto& l : lengths) l = 2 + static_cast<std::int64_t>(rng() % 30);
  auto source = std::make_shared<LengthSource>(lengths);
  LoaderOptions options;
  options.batch_size = 4;
  options.micro_batch_size = 2;
  options.seq_len = 32;
  options.look_ahead = 8;
  std::vector<StepBatch> batches;
  {
    BatchLoader loader(source, options);
    for (int i = 0; i < 12; ++i) batches.push_back(loader.next());
  }
  for (std::size_t from = 0; from + 1 < batches.size(); from += 3) {
    BatchLoader loader(source, options);
    loader.next();  // anything that was prepared before the restore is thrown away
    loader.restore(batches[from].cursor);
    for (std::size_t i = from + 1; i < batches.size(); ++i) {
      const StepBatch again = loader.next();
      ASSERT_EQ(again.micro_batches.size(), 2U);
      for (std::size_t m = 0; m < 2; ++m) {
        ASSERT_EQ(again.micro_batches[m].ids, batches[i].micro_batches[m].ids);
        ASSERT_EQ(again.micro_batches[m].cu_seqlens, batches[i].micro_batches[m].cu_seqlens);
      }
      ASSERT_EQ(again.cursor, batches[i].cursor);
      ASSERT_EQ(again.statistics.samples, batches[i].statistics.samples);
      ASSERT_EQ(again.epoch, batches[i].epoch);
    }
  }
}

TEST(BatchLoader, CountsWhatItHandedOutAndNotWhatItReadAhead) {
  auto source = std::make_shared<LengthSource>(std::vector<std::int64_t>(12, 16));
  LoaderOptions options;
  options.batch_size = 4;
  options.seq_len = 48;
  BatchLoader loader(source, options);
  for (int step = 1; step < 4; ++step) EXPECT_DOUBLE_EQ(loader.next().epoch, step);
  FakeOptions fake;
  fake.vocab_size = 7;
  fake.seq_len = 48;
  EXPECT_EQ(BatchLoader(std::make_shared<FakeSource>(fake), options).next().epoch, 0);
}

TEST(BatchLoader, StopsWithinAStepAndContinuesBehindTheLastWholeOne) {
  auto source = std::make_shared<LengthSource>(std::vector<std::int64_t>{5, 9, 14, 3, 8});
  LoaderOptions options;
  options.batch_size = 6;
  options.seq_len = 32;
  BatchLoader undisturbed(source, options);
  const StepBatch first = undisturbed.next(), second = undisturbed.next();
  std::atomic<int> left = 9;  // rows until the stop: in the middle of the second step
  options.stop = [&left] { return left-- <= 0; };
  BatchLoader loader(source, options);
  EXPECT_FALSE(loader.next().stopped);
  EXPECT_TRUE(loader.next().stopped);
  left = 1000;
  loader.restore(first.cursor);
  const StepBatch again = loader.next();
  EXPECT_FALSE(again.stopped);
  EXPECT_EQ(again.cursor, second.cursor);
  EXPECT_EQ(again.micro_batches.back().ids, second.micro_batches.back().ids);
}

// A step that would take for ever is left at once, by the stop and by the end of the loader.
TEST(BatchLoader, AStepThatNeverEndsIsLeftAtOnce) {
  FakeOptions fake;
  fake.vocab_size = 7;
  fake.seq_len = 2;
  LoaderOptions options;
  options.batch_size = std::int64_t{1} << 60;
  options.micro_batch_size = options.batch_size;
  options.seq_len = 2;
  std::atomic<int> left = 2000;
  options.stop = [&left] { return left-- <= 0; };
  BatchLoader loader(std::make_shared<FakeSource>(fake), options);
  EXPECT_TRUE(loader.next().stopped);
}

TEST(LoaderOptions, BytesAreNoLessThanWhatTwoStepsHold) {
  std::mt19937_64 rng(test::fresh_seed());
  std::vector<std::int64_t> lengths(50);
  for (auto& l : lengths) l = 2 + static_cast<std::int64_t>(rng() % 9);
  LoaderOptions options;
  options.batch_size = 8;
  options.micro_batch_size = 2;
  options.seq_len = 64;
  BatchLoader loader(std::make_shared<LengthSource>(lengths), options);
  const StepBatch batch = loader.next();
  double held = 0;
  for (const MicroBatch& m : batch.micro_batches) {
    held +=
        static_cast<double>(sizeof(m) + 4 * m.ids.capacity() + 4 * m.positions.capacity() +
                            4 * m.cu_seqlens.capacity() + m.mask.capacity() + 8 * m.sample_index.capacity());
  }
  EXPECT_GE(options.bytes(), 2 * held);
  EXPECT_LE(options.bytes(), 6 * held);
  options.batch_size *= 3;
  EXPECT_DOUBLE_EQ(options.bytes(), 3 * 2 * 8.0 * (64 * 19 + sizeof(MicroBatch) / 2.0));
}

TEST(OnePass, HasEveryDocumentOnceAndEnds) {
  LengthSource source({9, 3, 30, 4, 11, 5, 2});
  std::multiset<std::int64_t> seen;
  for (const auto& batch : one_pass(source, 16, 2)) {
    EXPECT_LE(batch.tokens(), 32);
    seen.insert(batch.sample_index.begin(), batch.sample_index.end());
  }
  EXPECT_EQ(seen, (std::multiset<std::int64_t>{0, 8, 16, 24, 32, 40, 48}));
  std::int64_t some = 0;
  for (const auto& batch : one_pass(source, 16, 2, 3)) some += batch.documents();
  EXPECT_EQ(some, 3);
}

}  // namespace
}  // namespace rlcpp::data
