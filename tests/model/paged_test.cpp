// The engine's forward against the trainer's: the same bits for random pages, chunks and mixtures of
// sequences.
#include <algorithm>
#include <numeric>

#include "model/harness.h"

namespace rlcpp::model {
namespace {

class Paged : public RandomWeights {};

// A cache with pages handed out at random, and the tensors of one step.
class PagedRun {
 public:
  PagedRun(const TestModel& model, const Row& row, std::int64_t page_size, std::mt19937_64& random)
      : model_(model), row_(row), page_size_(page_size) {
    const ModelConfig& c = model.config;
    const auto sequences = static_cast<std::int64_t>(row.documents());
    max_pages_ = (row.tokens() + page_size - 1) / page_size;
    const std::int64_t pages = sequences * max_pages_ + 3;
    MemoryPlan plan;
    std::vector<std::pair<RegionId, RegionId>> cache;
    for (std::int64_t layer = 0; layer < c.num_layers; ++layer) {
      const auto add = [&](const char* name) {
        return plan.add(MemoryUse::kKvCache, name, DType::kF32,
                        {pages, page_size, c.num_kv_heads, c.head_dim});
      };
      cache.emplace_back(add("k"), add("v"));
    }
    const auto scratch = plan_paged_scratch(c, plan, row.tokens());
    const auto add = [&](std::initializer_list<std::int64_t> shape) {
      return plan.add(MemoryUse::kWorkspace, "test", DType::kI32, shape);
    };
    const auto ids = add({row.tokens()}), positions = add({row.tokens()}), slots = add({row.tokens()});
    const auto sequence_of = add({row.tokens()}), tables = add({sequences, max_pages_});
    arena_ = std::make_unique<Arena>(std::move(plan), Device{});
    arena_->poison_all();
    for (const auto& [k, v] : cache) cache_.push_back({(*arena_)[k], (*arena_)[v]});
    scratch_ = make_paged_scratch(c, *arena_, scratch);
    batch_ = {(*arena_)[ids], (*arena_)[positions], (*arena_)[slots], (*arena_)[sequence_of],
              (*arena_)[tables]};
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    std::copy_n(order.begin(), sequences * max_pages_, batch_.block_tables.i32());
    done_.resize(row.documents(), 0);
  }

  // The next counts[d] tokens of each document d in one forward; rows in the order of `order`. Returns the
  // hidden states into `hidden` at the rows that the packed form has.
  void step(const std::vector<std::int32_t>& counts, const std::vector<std::size_t>& order,
            std::vector<float>& hidden) {
    std::vector<std::int64_t> packed_row;
    std::int64_t t = 0;
    for (const std::size_t d : order) {
      for (std::int32_t i = 0; i < counts[d]; ++i, ++t) {
        const std::int32_t position = done_[d]++;
        packed_row.push_back(row_.cu_seqlens[d] + position);
        const std::int64_t entry = static_cast<std::int64_t>(d) * max_pages_ + position / page_size_;
        batch_.ids.i32()[t] = row_.ids[static_cast<std::size_t>(packed_row.back())];
        batch_.positions.i32()[t] = position;
        batch_.sequence_of.i32()[t] = static_cast<std::int32_t>(d);
        batch_.slots.i32()[t] =
            static_cast<std::int32_t>(batch_.block_tables.i32()[entry] * page_size_ + position % page_size_);
      }
    }
    const PagedBatch part{batch_.ids.rows(0, t), batch_.positions.rows(0, t), batch_.slots.rows(0, t),
                          batch_.sequence_of.rows(0, t), batch_.block_tables};
    const Tensor out = forward_paged(model_.context, model_.config, model_.weights, model_.packed,
                                     model_.rope, part, cache_, scratch_);
    ASSERT_EQ(out.dim(0), t);
    const std::int64_t h = model_.config.hidden_size;
    for (std::int64_t i = 0; i < t; ++i) {
      std::copy_n(out.f32() + i * h, h, hidden.begin() + packed_row[static_cast<std::size_t>(i)] * h);
    }
  }

  std::int32_t left(std::size_t d) const { return row_.cu_seqlens[d + 1] - row_.cu_seqlens[d] - done_[d]; }

 private:
  const TestModel& model_;
  const Row& row_;
  std::int64_t page_size_, max_pages_ = 0;
  std::unique_ptr<Arena> arena_;
  std::vector<ops::KvPages> cache_;
  PagedScratch scratch_;
  PagedBatch batch_;
  std::vector<std::int32_t> done_;
};

TEST_P(Paged, AnyChunksGiveThePackedBits) {
  for (const std::int64_t page_size : {1, 4, 16}) {
    const auto m = model(Recompute::kNone, 2);
    const std::vector<float> wanted = copy_of(m->run(row_));
    PagedRun run(*m, row_, page_size, random_);
    std::vector<float> hidden(wanted.size(), 0.0F);
    const std::size_t documents = row_.documents();
    std::vector<std::size_t> order(documents);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (;;) {
      std::vector<std::int32_t> counts(documents);
      std::int32_t total = 0;
      for (std::size_t d = 0; d < documents; ++d) {
        // Decode of one token, a chunk, or nothing in this step.
        const auto wish = static_cast<std::int32_t>(random_() % 3 == 0 ? random_() % 8 : random_() % 2);
        counts[d] = std::min(wish, run.left(d));
        total += counts[d];
      }
      std::shuffle(order.begin(), order.end(), random_);
      if (total > 0) run.step(counts, order, hidden);
      bool more = false;
      for (std::size_t d = 0; d < documents; ++d) more = more || run.left(d) > 0;
      if (!more) break;
    }
    EXPECT_TRUE(same_bits(hidden, wanted)) << page_size;
  }
}

TEST_P(Paged, TokenByTokenGivesThePackedBits) {
  const auto m = model();
  const std::vector<float> wanted = copy_of(m->run(row_));
  PagedRun run(*m, row_, 4, random_);
  std::vector<float> hidden(wanted.size(), 0.0F);
  for (std::size_t d = 0; d < row_.documents(); ++d) {
    std::vector<std::int32_t> one(row_.documents(), 0);
    one[d] = 1;
    while (run.left(d) > 0) run.step(one, {d}, hidden);
  }
  EXPECT_TRUE(same_bits(hidden, wanted));
}

INSTANTIATE_TEST_SUITE_P(All, Paged, ::testing::ValuesIn(golden_names()), test_name);

}  // namespace
}  // namespace rlcpp::model
