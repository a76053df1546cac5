// The audit of exact mode: that it passes on what is exact, computes in another company, and sees one bit.
#include "train/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/failpoint.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

constexpr std::int64_t kRowTokens = 96;

class Audit : public ::testing::Test {
 protected:
  Audit() : rng_(test::fresh_seed()), run_(TrainerOptions{}, rng_.next_u64(), 2) {
    // Rows of several documents, with temperatures of their own; the last row is one document as long as a
    // row may be, which leaves nobody beside it.
    for (int r = 0; r < 5; ++r) {
      data::MicroBatch row;
      while (row.tokens() < 60) append(row, 2 + rng_.below(18));
      rows_.push_back(std::move(row));
    }
    rows_.emplace_back();
    append(rows_.back(), static_cast<std::size_t>(64));
    // What the engine would have said: the trainer's own.
    for (data::MicroBatch& row : rows_) {
      const std::vector<float> own = run_.trainer->logprobs(row);
      for (std::size_t t = 0; t < own.size(); ++t) row.inference_logprobs[t] = row.mask[t] != 0 ? own[t] : 0;
    }
  }

  void append(data::MicroBatch& row, std::size_t length) {
    data::Sample sample = random_sample(rng_, length, true);
    sample.temperature = 0.75F + 0.1F * static_cast<float>(rng_.below(5));
    row.append(sample);
  }

  AuditRequest request(std::int64_t rollouts) {
    return {.rollouts = rollouts, .max_tokens = kRowTokens, .seed = rng_.next_u64()};
  }
  AuditResult audited(const AuditRequest& request) {
    return audit(rows_, request, [&](const std::vector<data::MicroBatch>& rows) {
      std::vector<std::vector<float>> all;
      for (const data::MicroBatch& row : rows) all.push_back(run_.trainer->logprobs(row));
      computed_ += static_cast<std::int64_t>(rows.size());
      return all;
    });
  }
  std::int64_t documents() const {
    std::int64_t count = 0;
    for (const data::MicroBatch& row : rows_) count += row.documents();
    return count;
  }

  Rng rng_;
  TinyRun run_;
  std::vector<data::MicroBatch> rows_;
  std::int64_t computed_ = 0;
};

TEST_F(Audit, EqualBitsPassWhateverTheCompany) {
  for (int round = 0; round < 20; ++round) {
    const AuditRequest all = request(1000);
    const AuditResult result = audited(all);
    EXPECT_EQ(result.rollouts, documents());
    EXPECT_EQ(result.differ, 0) << "seed " << rng_.seed();
    EXPECT_FALSE(result.first.has_value());
    std::int64_t tokens = 0;
    for (const data::MicroBatch& row : rows_) tokens += row.tokens();
    EXPECT_EQ(result.tokens, tokens - documents());  // all but the first of each
  }
  const AuditResult few = audited(request(3));
  EXPECT_EQ(few.rollouts, 3);
  EXPECT_GT(few.tokens, 0);
}

// Each chosen document once, whole, with its temperature, behind somebody else where there is room; no row is
// one of the step's.
TEST_F(Audit, ChosenDocumentsAreInOtherRows) {
  std::vector<std::int64_t> chosen;
  for (std::int64_t d = 0; d < documents(); d += 2) chosen.push_back(d);
  std::set<std::int64_t> lengths;
  for (int round = 0; round < 50; ++round) {
    const AuditRows other = repack(rows_, chosen, kRowTokens, rng_.next_u64());
    std::vector<std::int64_t> seen;
    for (const AuditRows::Place& place : other.places) {
      seen.push_back(place.document);
      std::int64_t before = 0;
      std::size_t r = 0;
      while (before + rows_[r].documents() <= place.document) before += rows_[r++].documents();
      const auto d = static_cast<std::size_t>(place.document - before);
      const data::MicroBatch& row = rows_[r];
      const std::int64_t first = row.cu_seqlens[d];
      ASSERT_EQ(place.tokens, row.cu_seqlens[d + 1] - first);
      EXPECT_GT(place.first, 0);  // all leave room for a token at least
      const data::MicroBatch& to = other.rows[place.row];
      ASSERT_LE(place.first + place.tokens, to.tokens());
      for (std::int64_t t = 0; t < place.tokens; ++t) {
        const auto a = static_cast<std::size_t>(first + t), b = static_cast<std::size_t>(place.first + t);
        ASSERT_EQ(to.ids[b], row.ids[a]);
        ASSERT_EQ(to.positions[b], t);
        ASSERT_EQ(to.temperatures[b], row.temperatures[a]);
      }
    }
    std::ranges::sort(seen);
    EXPECT_EQ(seen, chosen);
    for (const data::MicroBatch& row : other.rows) {
      EXPECT_LE(row.tokens(), kRowTokens);
      lengths.insert(row.tokens());
      for (const data::MicroBatch& old : rows_) EXPECT_NE(row.ids, old.ids);
    }
  }
  EXPECT_GT(lengths.size(), 20U);
}

TEST_F(Audit, OneBitOfTheEnginesIsSeenAndNamed) {
  const std::size_t r = rng_.below(rows_.size());
  data::MicroBatch& row = rows_[r];
  std::vector<std::size_t> trained;
  for (std::size_t t = 0; t < row.mask.size(); ++t) {
    if (row.mask[t] != 0) trained.push_back(t);
  }
  const std::size_t at = trained[rng_.below(trained.size())];
  const float right = row.inference_logprobs[at];
  const float wrong = std::nextafter(right, -std::numeric_limits<float>::infinity());
  row.inference_logprobs[at] = wrong;
  const AuditResult result = audited(request(1000));
  EXPECT_EQ(result.differ, 1);
  ASSERT_TRUE(result.first.has_value());
  std::int64_t document = 0;
  for (std::size_t i = 0; i < r; ++i) document += rows_[i].documents();
  std::size_t d = 0;
  while (static_cast<std::size_t>(row.cu_seqlens[d + 1]) <= at) ++d;
  EXPECT_EQ(result.first->document, document + static_cast<std::int64_t>(d));
  EXPECT_EQ(result.first->token, static_cast<std::int64_t>(at) - row.cu_seqlens[d]);
  EXPECT_TRUE(result.first->sampled);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(result.first->engine), std::bit_cast<std::uint32_t>(wrong));
  EXPECT_EQ(std::bit_cast<std::uint32_t>(result.first->own_row), std::bit_cast<std::uint32_t>(right));
  EXPECT_EQ(std::bit_cast<std::uint32_t>(result.first->other_row), std::bit_cast<std::uint32_t>(right));
  // Of weights that are gone the engine's values say nothing.
  AuditRequest stale = request(1000);
  stale.sampled_now = false;
  EXPECT_EQ(audited(stale).differ, 0);
}

// A forward that depends on the company of a token is found, though it agrees with the engine in its own row.
TEST_F(Audit, AForwardThatDependsOnTheRowIsSeen) {
  const AuditResult result = audit(rows_, request(1000), [&](const std::vector<data::MicroBatch>& rows) {
    std::vector<std::vector<float>> all;
    const bool own = rows.size() == rows_.size() && rows.front().ids == rows_.front().ids;
    for (const data::MicroBatch& row : rows) {
      all.push_back(run_.trainer->logprobs(row));
      if (!own && &row == &rows.back()) all.back().back() = std::nextafter(all.back().back(), 0.0F);
    }
    return all;
  });
  EXPECT_EQ(result.differ, 1);
  ASSERT_TRUE(result.first.has_value());
  EXPECT_NE(result.first->own_row, result.first->other_row);

  failpoint::arm("train.audit=flip");
  EXPECT_EQ(audited(request(2)).differ, 1);
  failpoint::disarm_all();
}

TEST_F(Audit, NothingTrainedIsNothingToAudit) {
  for (data::MicroBatch& row : rows_) std::ranges::fill(row.mask, 0);
  const AuditResult result = audited(request(4));
  EXPECT_EQ(result.rollouts, 0);
  EXPECT_EQ(result.tokens, 0);
  EXPECT_EQ(computed_, 0);
}

TEST_F(Audit, ItIsDueEveryInterval) {
  const AuditConfig config{.interval = 3, .rollouts = 1};
  std::vector<std::int64_t> due;
  for (std::int64_t step = 1; step <= 9; ++step) {
    if (config.due(step)) due.push_back(step);
  }
  EXPECT_EQ(due, (std::vector<std::int64_t>{3, 6, 9}));
}

}  // namespace
}  // namespace rlcpp::train
