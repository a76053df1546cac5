#include "ops/embedding.h"

#include "ops/ops_support.h"
#include "ops/reference/embedding.h"

namespace rlcpp::test {
namespace {

TEST(Embedding, CopiesRows) {
  Random random;
  const ops::Context ctx = cpu_context();
  const std::int64_t vocabulary = 31;
  const std::int64_t h = 19;
  Floats table = random.normal(vocabulary * h);
  Ints ids = random.below(200, vocabulary);
  Floats y = poisoned(200 * h);
  ops::embedding_forward(ctx, view(y, {200, h}), view(table, {vocabulary, h}), view(ids, {200}));
  expect_close(y, ops::reference::embedding_forward(to_double(table), ids, h), 0, "y");
}

TEST(Embedding, GradientAddsRowsOfOneIdInOrder) {
  Random random;
  const std::int64_t vocabulary = 11;  // many rows share an id
  const std::int64_t h = 130;
  const std::int64_t m = 5000;
  Floats dy = random.normal(m * h);
  Ints ids = random.below(m, vocabulary);
  const Floats old = random.normal(vocabulary * h);
  Floats expected = old;
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t i = 0; i < h; ++i) expected[ids[r] * h + i] += dy[r * h + i];
  }
  const Floats actual = same_bits_everywhere(
      [&](const ops::Context& ctx) {
        Floats d = old;
        ops::embedding_backward(ctx, view(d, {vocabulary, h}), view(dy, {m, h}), view(ids, {m}));
        return d;
      },
      "embedding");
  expect_same_bits(actual, expected, "in order");
  Doubles reference = ops::reference::embedding_backward(to_double(dy), ids, vocabulary, h);
  for (std::size_t i = 0; i < reference.size(); ++i) reference[i] += static_cast<double>(old[i]);
  expect_close(actual, reference, 1e-5, "reference");
}

TEST(Embedding, RefusesIdsOutsideTheTable) {
  const ops::Context ctx = cpu_context();
  Floats table(6);
  Floats y(2);
  for (const std::int32_t id : {-1, 3}) {
    Ints ids = {id};
    EXPECT_THROW(ops::embedding_forward(ctx, view(y, {1, 2}), view(table, {3, 2}), view(ids, {1})), Error);
    EXPECT_THROW(ops::embedding_backward(ctx, view(table, {3, 2}), view(y, {1, 2}), view(ids, {1})), Error);
  }
}

}  // namespace
}  // namespace rlcpp::test
