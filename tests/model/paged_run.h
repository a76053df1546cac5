// The engine's forward over the documents of a row, a few tokens of each at a time.
#pragma once

#include <algorithm>
#include <numeric>

#include "model/harness.h"

namespace rlcpp::model {

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
        return plan.add(MemoryUse::kKvCache, name, model.context.compute_type(),
                        {pages, page_size, c.num_kv_heads, c.head_dim});
      };
      cache.emplace_back(add("k"), add("v"));
    }
    const auto scratch = plan_paged_scratch(c, plan, row.tokens(), model.context.compute_type());
    const auto add = [&](std::initializer_list<std::int64_t> shape) {
      return plan.add(MemoryUse::kWorkspace, "test", DType::kI32, shape);
    };
    const auto ids = add({row.tokens()}), positions = add({row.tokens()}), slots = add({row.tokens()});
    const auto sequence_of = add({row.tokens()}), tables = add({sequences, max_pages_});
    arena_ = std::make_unique<Arena>(std::move(plan), model.context.device);
    arena_->poison_all();
    for (const auto& [k, v] : cache) cache_.push_back({(*arena_)[k], (*arena_)[v]});
    scratch_ = make_paged_scratch(c, *arena_, scratch);
    batch_ = {(*arena_)[ids],
              (*arena_)[positions],
              (*arena_)[slots],
              (*arena_)[sequence_of],
              (*arena_)[tables],
              {},
              {},
              {}};
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    block_tables_.assign(order.begin(), order.begin() + sequences * max_pages_);
    put(batch_.block_tables, block_tables_);
    done_.resize(row.documents(), 0);
  }

  // The next counts[d] tokens of each document d in one forward; rows in the order of `order`. Returns the
  // hidden states into `hidden` at the rows that the packed form has.
  void step(const std::vector<std::int32_t>& counts, const std::vector<std::size_t>& order,
            std::vector<float>& hidden) {
    std::vector<std::int64_t> packed_row;
    std::vector<std::int32_t> ids, positions, slots, sequence_of;
    for (const std::size_t d : order) {
      for (std::int32_t i = 0; i < counts[d]; ++i) {
        const std::int32_t position = done_[d]++;
        packed_row.push_back(row_.cu_seqlens[d] + position);
        const auto entry = static_cast<std::int64_t>(d) * max_pages_ + position / page_size_;
        ids.push_back(row_.ids[static_cast<std::size_t>(packed_row.back())]);
        positions.push_back(position);
        sequence_of.push_back(static_cast<std::int32_t>(d));
        slots.push_back(static_cast<std::int32_t>(
            block_tables_[static_cast<std::size_t>(entry)] * page_size_ + position % page_size_));
      }
    }
    const auto t = static_cast<std::int64_t>(ids.size());
    put(batch_.ids, ids);
    put(batch_.positions, positions);
    put(batch_.slots, slots);
    put(batch_.sequence_of, sequence_of);
    const PagedBatch part{batch_.ids.rows(0, t),
                          batch_.positions.rows(0, t),
                          batch_.slots.rows(0, t),
                          batch_.sequence_of.rows(0, t),
                          batch_.block_tables,
                          {},
                          {},
                          {}};
    const Tensor out = forward_paged(model_.context, model_.config, model_.weights, model_.packed,
                                     model_.rope, part, cache_, scratch_);
    ASSERT_EQ(out.dim(0), t);
    const std::int64_t h = model_.config.hidden_size;
    const std::vector<float> values = copy_of(out);
    for (std::int64_t i = 0; i < t; ++i) {
      std::copy_n(values.begin() + i * h, h, hidden.begin() + packed_row[static_cast<std::size_t>(i)] * h);
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
  std::vector<std::int32_t> block_tables_, done_;
};

}  // namespace rlcpp::model
