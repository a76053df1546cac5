#include "ops/cast.h"

#include "ops/ops_support.h"

namespace rlcpp::test {
namespace {

using Cast = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Cast, every_device(), device_name);

TEST_P(Cast, RoundsToNearestEven) {
  const ops::Context ctx = context();
  Random random;
  for (const std::int64_t n : {1, 7, 4096, 100003}) {
    Floats from = random.normal(n, 3.0F);
    from[0] = 1.0F + 0x1p-8F;  // between two bf16 values: the even one
    from[static_cast<std::size_t>(n - 1)] = n > 1 ? 0x1.fffffep127F : from[0];  // rounds to infinity
    Floats to = poisoned(n);
    ops::cast(ctx, on(ctx, to, {n}), f32(ctx, from, {n}));
    expect_same_bits(to, rounded(ctx, from), "cast");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Cast, ZeroClearsEveryByte) {
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 63, 70001}) {
    Floats full = poisoned(n), compute = poisoned(n);
    ops::zero(ctx, f32(ctx, full, {n}));
    ops::zero(ctx, on(ctx, compute, {n}));
    const Floats zeros(static_cast<std::size_t>(n), 0.0F);
    expect_same_bits(full, zeros, "f32");
    expect_same_bits(compute, zeros, "compute type");
  }
}

}  // namespace
}  // namespace rlcpp::test
