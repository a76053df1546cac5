#include "tensor/copy.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "support.h"
#include "tensor/arena.h"

namespace rlcpp {
namespace {

// Between the CPU and each kind of device: named Copy.Test/Cpu and, where there is a GPU, Copy.Test/Cuda.
class Copy : public testing::TestWithParam<Device> {
 protected:
  // Memory of the device, with a region a tensor.
  Arena make_arena(std::initializer_list<std::pair<DType, std::int64_t>> regions) {
    MemoryPlan plan;
    ids_.clear();
    for (const auto& [type, size] : regions)
      ids_.push_back(
          plan.add(MemoryUse::kActivations, "region " + std::to_string(ids_.size()), type, {size}));
    return Arena(std::move(plan), GetParam());
  }
  std::vector<RegionId> ids_;
  std::mt19937_64 random_{test::fresh_seed()};

  std::vector<float> values(std::size_t size) {
    std::normal_distribution<float> normal;
    std::vector<float> list(size);
    for (float& value : list) value = normal(random_);
    return list;
  }
};

std::vector<Device> devices() {
  std::string why;
  std::vector<Device> list = {Device{}};
  if (!cuda::gpus(&why).empty()) list.push_back({DeviceKind::kCuda, 0});
  return list;
}
std::string device_name(const testing::TestParamInfo<Device>& info) {
  return info.param.kind == DeviceKind::kCpu ? "Cpu" : "Cuda";
}
INSTANTIATE_TEST_SUITE_P(, Copy, testing::ValuesIn(devices()), device_name);

void expect_same(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0);
}

TEST_P(Copy, ThereAndBackKeepsEveryByte) {
  const Arena arena = make_arena({{DType::kU8, 10007}, {DType::kU8, 10007}, {DType::kI64, 3}});
  std::vector<std::uint8_t> bytes(10007), back(10007);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random_());
  const Tensor first = arena[ids_[0]], second = arena[ids_[1]];
  copy(first, host_view(std::span(bytes), DType::kU8));
  copy(second, first);
  copy(host_view(std::span(back), DType::kU8), second);
  EXPECT_EQ(back, bytes);
  // Part of a tensor, at an odd place; its neighbours stay.
  const std::vector<std::uint8_t> three = {1, 2, 3};
  copy(second.rows(5001, 3), host_view(std::span(three), DType::kU8));
  std::copy(three.begin(), three.end(), bytes.begin() + 5001);
  copy(host_view(std::span(back), DType::kU8), second);
  EXPECT_EQ(back, bytes);
}

TEST_P(Copy, FloatsAreRoundedIntoTheTypeOfTheTensor) {
  const Arena arena = make_arena({{DType::kF32, 1001}, {DType::kBF16, 1001}, {DType::kF16, 1001}});
  std::vector<float> list = values(1001);
  list[0] = -0.0F;
  list[1] = std::numeric_limits<float>::infinity();
  list[2] = 1.0F + 0x1p-8F;  // halfway between two bf16 values
  std::vector<float> bf16 = list, f16 = list;
  for (float& value : bf16) value = bf16_to_f32(f32_to_bf16(value));
  for (float& value : f16) value = f16_to_f32(f32_to_f16(value));
  for (const RegionId id : ids_) from_floats(arena[id], list);
  expect_same(to_floats(arena[ids_[0]]), list);
  expect_same(to_floats(arena[ids_[1]]), bf16);
  expect_same(to_floats(arena[ids_[2]]), f16);
}

TEST_P(Copy, FillSetsEveryByteAndNoOther) {
  const Arena arena = make_arena({{DType::kF32, 1000}});
  const Tensor all = arena[ids_[0]];
  from_floats(all, std::vector<float>(1000, 1.0F));
  fill_bytes(all.rows(10, 33), 0xFF);
  const std::vector<float> after = to_floats(all);
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (i >= 10 && i < 43) {
      EXPECT_TRUE(std::isnan(after[i])) << i;
    } else {
      EXPECT_EQ(after[i], 1.0F) << i;
    }
  }
}

TEST_P(Copy, AnArenaStartsAtZeroAndIsPoisonedWithNaN) {
  const Arena arena = make_arena({{DType::kF32, 77}, {DType::kBF16, 300}});
  expect_same(to_floats(arena[ids_[0]]), std::vector<float>(77, 0.0F));
  EXPECT_EQ(arena[ids_[1]].device(), GetParam());
  arena.poison(ids_[1]);
  for (const float value : to_floats(arena[ids_[1]])) EXPECT_TRUE(std::isnan(value));
  expect_same(to_floats(arena[ids_[0]]), std::vector<float>(77, 0.0F));
  arena.poison_all();
  for (const float value : to_floats(arena[ids_[0]])) EXPECT_TRUE(std::isnan(value));
}

TEST_P(Copy, HostFloatsAreReadAndStored) {
  const Arena arena = make_arena({{DType::kF32, 501}, {DType::kI32, 4}});
  const Tensor tensor = arena[ids_[0]];
  std::vector<float> list = values(501);
  from_floats(tensor, list);
  HostFloats floats(tensor);
  ASSERT_EQ(floats.values().size(), 501U);
  expect_same({floats.values().begin(), floats.values().end()}, list);
  floats.values()[7] = list[7] = 42.0F;
  HostFloats moved = std::move(floats);
  moved.values()[8] = list[8] = 43.0F;
  moved.store();
  expect_same(to_floats(tensor), list);
  HostFloats written(tensor, false);
  for (float& value : written.values()) value = 2.0F;
  written.store();
  expect_same(to_floats(tensor), std::vector<float>(501, 2.0F));
  EXPECT_THROW(HostFloats{arena[ids_[1]]}, Error);
}

TEST_P(Copy, NothingIsCopiedForNoElements) {
  const Arena arena = make_arena({{DType::kF32, 4}});
  const Tensor none = arena[ids_[0]].rows(2, 0);
  copy(none, none);
  fill_bytes(none, 1);
  from_floats(none, {});
  EXPECT_TRUE(to_floats(none).empty());
  expect_same(to_floats(arena[ids_[0]]), std::vector<float>(4, 0.0F));
}

TEST_P(Copy, TypesAndSizesMustAgree) {
  const Arena arena = make_arena({{DType::kF32, 4}, {DType::kBF16, 4}, {DType::kI32, 4}});
  std::vector<float> list(4);
  EXPECT_THROW(copy(arena[ids_[0]], arena[ids_[0]].rows(0, 3)), Error);
  EXPECT_THROW(copy(arena[ids_[1]], host_view(std::span(list), DType::kF32)), Error);
  EXPECT_THROW(from_floats(arena[ids_[0]].rows(0, 3), list), Error);
  EXPECT_THROW(from_floats(arena[ids_[2]], list), Error);
  EXPECT_THROW((void)to_floats(arena[ids_[2]]), Error);
}

// What loading and initialisation write through, whatever the decoder reads.
TEST_P(Copy, HostFloatsOfEveryType) {
  const Arena arena = make_arena({{DType::kF32, 61}, {DType::kBF16, 61}, {DType::kF16, 61}});
  const std::vector<float> wanted = values(61);
  for (const RegionId id : ids_) {
    const Tensor tensor = arena[id];
    HostFloats host(tensor, false);
    ASSERT_EQ(host.values().size(), wanted.size());
    std::copy(wanted.begin(), wanted.end(), host.values().begin());
    host.store();
    std::vector<float> rounded(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      rounded[i] = tensor.dtype() == DType::kBF16  ? bf16_to_f32(f32_to_bf16(wanted[i]))
                   : tensor.dtype() == DType::kF16 ? f16_to_f32(f32_to_f16(wanted[i]))
                                                   : wanted[i];
    }
    expect_same(to_floats(tensor), rounded);
    HostFloats again(tensor);
    expect_same({again.values().begin(), again.values().end()}, rounded);
  }
}

}  // namespace
}  // namespace rlcpp
