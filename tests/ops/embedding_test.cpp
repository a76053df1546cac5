#include "ops/embedding.h"

#include <algorithm>

#include "ops/ops_support.h"
#include "ops/reference/embedding.h"

namespace rlcpp::test {
namespace {

using Embedding = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Embedding, every_device(), device_name);

TEST_P(Embedding, CopiesRows) {
  const ops::Context ctx = context();
  Random random(ctx);
  const std::int64_t vocabulary = 31;
  for (const std::int64_t h : {19, 64, 1032}) {
    Floats table = random.normal(vocabulary * h);
    Ints ids = random.below(200, vocabulary);
    Floats y = poisoned(200 * h);
    ops::embedding_forward(ctx, on(ctx, y, {200, h}), on(ctx, table, {vocabulary, h}), i32(ctx, ids, {200}));
    expect_close(y, ops::reference::embedding_forward(to_double(table), ids, h), 0, "y");
    if (HasFatalFailure()) return;
  }
}

struct GradientCase {
  std::int64_t m, vocabulary, h;
};

// Many rows of one id, as many ids as rows, ids that no row has, one row, none.
TEST_P(Embedding, GradientAddsRowsOfOneIdInOrder) {
  const ops::Context device = context();
  Random random(device);
  for (const GradientCase& c : {GradientCase{5000, 11, 130}, GradientCase{700, 9973, 64},
                                GradientCase{300, 1, 7}, GradientCase{1, 5, 33}, GradientCase{0, 4, 8}}) {
    Floats dy = random.normal(std::max<std::int64_t>(1, c.m) * c.h);
    Ints ids = random.below(std::max<std::int64_t>(1, c.m), c.vocabulary);
    const Floats old = random.normal(c.vocabulary * c.h);
    Floats expected = old;
    for (std::int64_t r = 0; r < c.m; ++r) {
      for (std::int64_t i = 0; i < c.h; ++i) expected[ids[r] * c.h + i] += dy[r * c.h + i];
    }
    const Floats actual = same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          Floats d = old;
          ops::embedding_backward(ctx, f32(ctx, d, {c.vocabulary, c.h}), on(ctx, dy, {c.m, c.h}),
                                  i32(ctx, ids, {c.m}));
          return d;
        },
        "embedding");
    if (!device.on_gpu()) expect_same_bits(actual, expected, "in order");
    ids.resize(static_cast<std::size_t>(c.m));
    Doubles reference = ops::reference::embedding_backward(to_double(dy), ids, c.vocabulary, c.h);
    for (std::size_t i = 0; i < reference.size(); ++i) reference[i] += static_cast<double>(old[i]);
    expect_close(actual, reference, tolerance_f32(device, 1e-5), "reference");
    if (HasFatalFailure()) return;
  }
}

TEST(EmbeddingChecks, IdsOutsideTheTableAreRefused) {
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
