#include "tensor/tensor.h"

#include <numeric>
#include <vector>

#include "support.h"

namespace rlcpp {
namespace {

TEST(Tensor, DescribesItsMemory) {
  std::vector<float> memory(24);
  const Tensor tensor(memory.data(), DType::kF32, {2, 3, 4});
  EXPECT_FALSE(tensor.empty());
  EXPECT_EQ(tensor.rank(), 3);
  EXPECT_EQ(tensor.dim(1), 3);
  EXPECT_EQ(tensor.size(), 24);
  EXPECT_EQ(tensor.bytes(), 96U);
  EXPECT_EQ(tensor.shape_text(), "[2, 3, 4] f32");
  EXPECT_EQ(tensor.f32(), memory.data());
  EXPECT_EQ(tensor.f32_span().size(), 24U);
  const Tensor none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.bytes(), 0U);
  EXPECT_EQ(none.shape_text(), "[] f32");
  EXPECT_EQ(Tensor(memory.data(), DType::kBF16, {5, 0, 2}).size(), 0);
}

TEST(Tensor, RowsAreViewsOfTheSameMemory) {
  std::vector<std::int32_t> memory(5 * 6);
  std::iota(memory.begin(), memory.end(), 0);
  const Tensor tensor(memory.data(), DType::kI32, {5, 2, 3});
  const Tensor part = tensor.rows(1, 3);
  EXPECT_EQ(part.shape_text(), "[3, 2, 3] i32");
  EXPECT_EQ(part.i32(), memory.data() + 6);
  part.i32()[0] = -1;
  EXPECT_EQ(memory[6], -1);
  EXPECT_EQ(part.rows(2, 1).i32_span()[5], 23);
  EXPECT_EQ(tensor.rows(5, 0).size(), 0);
  EXPECT_EQ(tensor.rows(0, 5).i32(), memory.data());
  EXPECT_THROW((void)tensor.rows(3, 3), Error);
  EXPECT_THROW((void)tensor.rows(-1, 1), Error);
  EXPECT_THROW((void)tensor.rows(0, -1), Error);
  EXPECT_THROW((void)Tensor().rows(0, 0), Error);
  EXPECT_EQ(Tensor(memory.data(), DType::kI32, {0, 4}).rows(0, 0).size(), 0);
}

TEST(Tensor, ViewsKeepTheSize) {
  std::vector<float> memory(12);
  const Tensor tensor(memory.data(), DType::kF32, {3, 4});
  EXPECT_EQ(tensor.view({12}).f32(), memory.data());
  EXPECT_EQ(tensor.view({2, 2, 3}).rank(), 3);
  EXPECT_THROW((void)tensor.view({11}), Error);
  EXPECT_THROW((void)tensor.view({-3, -4}), Error);
  EXPECT_THROW((void)Tensor(memory.data(), DType::kF32, {1, 1, 1, 1, 12}), Error);
}

TEST(Tensor, TypedAccessChecksTheType) {
  std::vector<std::uint16_t> memory(4);
  const Tensor half(memory.data(), DType::kBF16, {4});
  EXPECT_EQ(half.as<std::uint16_t>(), memory.data());
  EXPECT_EQ(half.as<const std::uint16_t>(), memory.data());
  EXPECT_THROW((void)half.f32(), Error);
  EXPECT_THROW((void)half.i32(), Error);
  EXPECT_THROW((void)half.as<std::uint8_t>(), Error);
  std::vector<std::int64_t> wide(2);
  EXPECT_EQ(Tensor(wide.data(), DType::kI64, {2}).as<std::int64_t>(), wide.data());
  // Memory of a GPU is never handed out as a host pointer.
  EXPECT_THROW((void)Tensor(memory.data(), DType::kBF16, {4}, {DeviceKind::kCuda, 0}).as<std::uint16_t>(),
               Error);
}

}  // namespace
}  // namespace rlcpp
