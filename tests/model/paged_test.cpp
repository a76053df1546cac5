// The engine's forward against the trainer's for random pages, chunks and mixtures of sequences: the same
// bits on the CPU; on a GPU in `fast` mode both are within the roundings of bf16.
#include "model/paged_run.h"
#include "model/rounding.h"

namespace rlcpp::model {
namespace {

class Paged : public RandomWeights {
 protected:
  void expect_packed(const std::vector<float>& hidden, const std::vector<float>& packed,
                     std::int64_t page_size) {
    if (exact()) {
      EXPECT_TRUE(same_bits(hidden, packed)) << page_size;
      return;
    }
    // Either may be off by as much.
    const auto reference = models_.model(test::BackEnd::kCpu);
    const Bounds bounds = rounding_bounds(*reference, row_, random_);
    EXPECT_LE(distance(hidden, copy_of(reference->run(row_))), bounds.hidden) << page_size;
    EXPECT_LE(distance(hidden, packed), bounds.hidden) << page_size;
  }
};

TEST_P(Paged, AnyChunksGiveThePackedRow) {
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
    expect_packed(hidden, wanted, page_size);
  }
}

TEST_P(Paged, TokenByTokenGivesThePackedRow) {
  const auto m = model();
  const std::vector<float> wanted = copy_of(m->run(row_));
  PagedRun run(*m, row_, 4, random_);
  std::vector<float> hidden(wanted.size(), 0.0F);
  for (std::size_t d = 0; d < row_.documents(); ++d) {
    std::vector<std::int32_t> one(row_.documents(), 0);
    one[d] = 1;
    while (run.left(d) > 0) run.step(one, {d}, hidden);
  }
  expect_packed(hidden, wanted, 4);
}

INSTANTIATE_TEST_SUITE_P(All, Paged, everywhere(), where_name);

}  // namespace
}  // namespace rlcpp::model
