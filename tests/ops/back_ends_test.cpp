// The test programs see the devices that they should, and mirrors report what they are made for.
#include "ops/back_ends.h"

#include <gtest/gtest-spi.h>

#include "ops/ops_support.h"

namespace rlcpp::test {
namespace {

TEST(BackEnds, AGpuIsThere) {
  if (!gpu_expected()) return;  // the CPU alone is a complete run of ./test.sh
  std::string why;
  EXPECT_FALSE(cuda::gpus(&why).empty()) << why;
  EXPECT_EQ(back_ends().size(), 2U);
}

using Mirrors = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Mirrors, every_device(), device_name);

TEST_P(Mirrors, BringValuesThereAndBack) {
  const ops::Context ctx = context();
  Random random(ctx);
  const Floats values = random.normal(37);
  Floats compute = values, full = values, untouched = poisoned(5);
  full[3] = 1.0F / 3;  // not a bf16 value
  Ints ids = random.below(9, 1000);
  const Ints ids_before = ids;
  const Floats full_before = full;
  {
    const Mirror a = on(ctx, compute, {37});
    const Mirror b = f32(ctx, full, {37});
    const Mirror c = i32(ctx, ids, {3, 3});
    const Mirror d = on(ctx, untouched, {5});
    EXPECT_EQ(a.tensor().dtype(), ctx.compute_type());
    EXPECT_EQ(b.tensor().dtype(), DType::kF32);
    EXPECT_EQ(c.tensor().dim(1), 3);
    EXPECT_EQ(a.tensor().device(), ctx.device);
  }
  expect_same_bits(compute, values, "compute type");
  expect_same_bits(full, full_before, "f32");
  EXPECT_EQ(ids, ids_before);
  for (const float value : untouched) EXPECT_TRUE(std::isnan(value));
  EXPECT_TRUE(on(ctx, static_cast<Floats*>(nullptr), {4}).tensor().empty());
}

// On the CPU there is nothing around the vector's memory that could be checked.
using GuardsOfMirrors = OnEveryDevice;
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GuardsOfMirrors);
INSTANTIATE_TEST_SUITE_P(, GuardsOfMirrors, a_gpu(), device_name);

TEST_P(GuardsOfMirrors, ReportWritesOutsideTheBuffer) {
  const ops::Context ctx = context();
  for (const std::ptrdiff_t offset : {-1, 12}) {
    testing::TestPartResultArray results;
    {
      const testing::ScopedFakeTestPartResultReporter reporter(
          testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
      Floats values(3);
      const Mirror mirror = f32(ctx, values, {3});
      cuda::fill(static_cast<std::byte*>(mirror.tensor().raw()) + offset, ctx.device, 0, 1);
    }
    EXPECT_EQ(results.size(), 1) << "offset " << offset;
  }
}

}  // namespace
}  // namespace rlcpp::test
