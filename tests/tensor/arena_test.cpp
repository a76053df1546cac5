#include "tensor/arena.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "support.h"

namespace rlcpp {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

std::size_t bytes_of(const MemoryPlan::Region& region) {
  std::size_t bytes = size_of(region.type);
  for (const std::int64_t extent : region.shape) bytes *= static_cast<std::size_t>(extent);
  return bytes;
}

template <class Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return bad_input("none");
}

TEST(MemoryPlan, RegionsAreAlignedDisjointAndCounted) {
  std::mt19937_64 random(test::fresh_seed());
  constexpr std::array kTypes = {DType::kF32, DType::kBF16, DType::kF16,
                                 DType::kI32, DType::kI64,  DType::kU8};
  for (int round = 0; round < 50; ++round) {
    MemoryPlan plan;
    for (int i = 0; i < 40; ++i) {
      std::vector<std::int64_t> shape(random() % 4);
      for (auto& extent : shape) extent = static_cast<std::int64_t>(random() % 30);
      plan.add(static_cast<MemoryUse>(random() % 8), "region " + std::to_string(i),
               kTypes[random() % kTypes.size()], std::span<const std::int64_t>(shape));
    }
    std::vector<MemoryPlan::Region> sorted = plan.regions();
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.offset < b.offset; });
    std::size_t end = 0;
    for (const auto& region : sorted) {
      EXPECT_EQ(region.offset % 256, 0U);
      EXPECT_GE(region.offset, end);
      end = region.offset + bytes_of(region);
    }
    EXPECT_LE(end, plan.total_bytes());
    EXPECT_LT(plan.total_bytes(), end + 256);
    std::size_t sum = 0;
    for (int use = 0; use < 8; ++use) sum += plan.bytes_of(static_cast<MemoryUse>(use));
    EXPECT_EQ(sum, plan.total_bytes());
  }
}

TEST(MemoryPlan, AnAliasSharesBytesAndIsNotCountedAgain) {
  MemoryPlan plan;
  const RegionId host = plan.add(MemoryUse::kActivations, "hidden", DType::kF32, {10, 30});
  const std::size_t before = plan.total_bytes();
  const RegionId guest = plan.alias(host, MemoryUse::kLogits, "scratch", DType::kBF16, {20, 30});
  EXPECT_EQ(plan.total_bytes(), before);
  EXPECT_EQ(plan.bytes_of(MemoryUse::kActivations), before);
  EXPECT_THROW(plan.alias(host, MemoryUse::kLogits, "too large", DType::kF32, {301}), Error);
  const Arena arena(plan, Device{});
  EXPECT_EQ(arena[host].raw(), arena[guest].raw());
  EXPECT_EQ(arena[guest].shape_text(), "[20, 30] bf16");
}

TEST(MemoryPlan, AnAliasMayBeginBehindTheStartAndIsShownWithItsOwnUse) {
  MemoryPlan plan;
  const RegionId host = plan.add(MemoryUse::kWorkspace, "workspace", DType::kU8, {4 << 20});
  const RegionId guest = plan.alias(host, MemoryUse::kLogits, "logits", DType::kF32, {1 << 18}, 3 << 20);
  EXPECT_THROW(plan.alias(host, MemoryUse::kLogits, "beyond", DType::kF32, {(1 << 18) + 1}, 3 << 20), Error);
  EXPECT_EQ(plan.bytes_of(MemoryUse::kLogits), 0U);
  EXPECT_EQ(plan.table(0),
            "  logits                 1.00 MiB  in memory of another row\n"
            "  workspace              4.00 MiB\n"
            "  planned                4.00 MiB\n");
  const Arena arena(plan, Device{});
  EXPECT_EQ(static_cast<std::byte*>(arena[guest].raw()) - static_cast<std::byte*>(arena[host].raw()),
            3 << 20);
}

TEST(MemoryPlan, RegionsOfTheHostAreCountedApart) {
  MemoryPlan plan;
  const RegionId device = plan.add(MemoryUse::kWeights, "w", DType::kF32, {1000});
  const RegionId first = plan.add(MemoryUse::kHostOptimizer, "m", DType::kF32, {3 << 18});
  const RegionId second = plan.add(MemoryUse::kHostActivations, "a", DType::kBF16, {1 << 19});
  EXPECT_EQ(plan.total_bytes(), 4096U);
  EXPECT_EQ(plan.host_bytes(), std::size_t{4} << 20);
  EXPECT_EQ(plan.table(0),
            "  weights                0.00 MiB\n"
            "  planned                0.00 MiB\n"
            "  host optimizer         3.00 MiB\n"
            "  host activations       1.00 MiB\n"
            "  host                   4.00 MiB\n");
  EXPECT_NO_THROW(plan.require_fits(4096, {}));
  EXPECT_THROW(plan.alias(first, MemoryUse::kWorkspace, "on the device", DType::kF32, {4}), Error);
  std::string why;
  std::vector<Device> devices = {Device{}};
  if (!cuda::gpus(&why).empty()) devices.push_back({DeviceKind::kCuda, 0});
  for (const Device on : devices) {
    for (const bool pin : {true, false}) {
      Arena made(plan, on, pin);
      const Arena arena = std::move(made);
      EXPECT_EQ(arena[device].device(), on);
      for (const RegionId id : {first, second}) {
        EXPECT_EQ(arena[id].device(), Device{});
        EXPECT_EQ(static_cast<const std::uint8_t*>(arena[id].raw())[arena[id].bytes() - 1], 0);
      }
      EXPECT_NE(arena[first].raw(), arena[second].raw());
      arena.poison_all();
      EXPECT_EQ(static_cast<const std::uint8_t*>(arena[second].raw())[arena[second].bytes() - 1], 0xFF);
    }
  }
}

TEST(MemoryPlan, PrintsATableOfItsUses) {
  MemoryPlan plan;
  plan.add(MemoryUse::kWeights, "w", DType::kF32, {static_cast<std::int64_t>(kGiB / 4)});
  plan.add(MemoryUse::kKvCache, "kv", DType::kU8, {3 << 20});
  EXPECT_EQ(plan.table(0),
            "  weights                1.00 GiB\n"
            "  kv cache               3.00 MiB\n"
            "  planned                1.00 GiB\n");
  EXPECT_EQ(plan.table(2 * kGiB),
            "  weights                1.00 GiB\n"
            "  kv cache               3.00 MiB\n"
            "  planned                1.00 GiB\n"
            "  available              2.00 GiB\n"
            "  free                1021.00 MiB\n");
  EXPECT_EQ(plan.table(1 << 20).find("free"), std::string::npos);
}

TEST(MemoryPlan, RefusesWhatDoesNotFitWithNumbersAndOptions) {
  MemoryPlan plan;
  plan.add(MemoryUse::kWeights, "w", DType::kF32, {static_cast<std::int64_t>(kGiB)});
  EXPECT_NO_THROW(plan.require_fits(0, {}));
  EXPECT_NO_THROW(plan.require_fits(4 * kGiB, {}));
  const Error error = error_of([&] { plan.require_fits(3 * kGiB, {"--data.seq-len 1024", "--model.ac"}); });
  EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  EXPECT_EQ(error.because(), "4.00 GiB are planned, 3.00 GiB are available, 1.00 GiB are missing");
  MemoryPlan tiny;
  tiny.add(MemoryUse::kWeights, "w", DType::kF32, {static_cast<std::int64_t>(kGiB / 16)});
  EXPECT_EQ(error_of([&] { tiny.require_fits(kGiB / 4096, {}); }).because(),
            "256.00 MiB are planned, 0.25 MiB are available, 255.75 MiB are missing");
  EXPECT_EQ(tiny.table(0), "  weights              256.00 MiB\n  planned              256.00 MiB\n");
  EXPECT_LT(error.help().find("seq-len"), error.help().find("--model.ac"));
}

// Sizes that wrap round 2^64 would make a small plan and a wild write.
TEST(MemoryPlan, RefusesSizesThatOverflow) {
  MemoryPlan plan;
  const std::int64_t huge = std::int64_t{1} << 33;
  const Error error = error_of([&] { plan.add(MemoryUse::kLogits, "logits", DType::kF32, {huge, huge}); });
  EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  EXPECT_NE(error.because().find("logits"), std::string::npos);
  EXPECT_NE(error.because().find("8589934592 x 8589934592"), std::string::npos);
  EXPECT_THROW(plan.add(MemoryUse::kLogits, "wraps to 0", DType::kF32, {huge, huge, 0x10, 0x10}), Error);
  EXPECT_THROW(plan.add(MemoryUse::kLogits, "negative", DType::kF32, {-1}), Error);
  EXPECT_EQ(plan.total_bytes(), 0U);
  EXPECT_TRUE(plan.regions().empty());
  for (int i = 0; i < 2; ++i) {
    try {
      for (int k = 0; k < 100; ++k) plan.add(MemoryUse::kLogits, "sum", DType::kU8, {std::int64_t{1} << 55});
      FAIL();
    } catch (const Error&) {
      EXPECT_EQ(plan.total_bytes(), std::size_t{1} << 56);
    }
  }
}

TEST(Arena, GivesZeroedDisjointTensors) {
  MemoryPlan plan;
  std::vector<RegionId> ids;
  for (int i = 1; i <= 20; ++i) ids.push_back(plan.add(MemoryUse::kWorkspace, "r", DType::kF32, {i, 7}));
  const RegionId nothing = plan.add(MemoryUse::kWorkspace, "nothing", DType::kF32, {0, 7});
  const Arena arena(plan, Device{});
  EXPECT_EQ(arena[nothing].size(), 0);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Tensor tensor = arena[ids[i]];
    EXPECT_EQ(tensor.size(), static_cast<std::int64_t>(7 * (i + 1)));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 256, 0U);
    for (float& value : tensor.f32_span()) {
      ASSERT_EQ(value, 0);
      value = static_cast<float>(i + 1);
    }
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (const float value : arena[ids[i]].f32_span()) ASSERT_EQ(value, static_cast<float>(i + 1));
  }
}

TEST(Arena, PoisonMakesUnwrittenFloatsNan) {
  MemoryPlan plan;
  const RegionId a = plan.add(MemoryUse::kWorkspace, "a", DType::kF32, {65});
  const RegionId b = plan.add(MemoryUse::kWorkspace, "b", DType::kF32, {65});
  const RegionId half = plan.add(MemoryUse::kWorkspace, "half", DType::kBF16, {3});
  const Arena arena(plan, Device{});
  arena.poison(a);
  for (const float value : arena[a].f32_span()) EXPECT_TRUE(std::isnan(value));
  for (const float value : arena[b].f32_span()) EXPECT_EQ(value, 0);
  arena.poison_all();
  for (const float value : arena[b].f32_span()) EXPECT_TRUE(std::isnan(value));
  EXPECT_TRUE(std::isnan(bf16_to_f32(arena[half].as<std::uint16_t>()[2])));
}

TEST(Arena, CanBeMovedAndEmpty) {
  MemoryPlan plan;
  const RegionId id = plan.add(MemoryUse::kWorkspace, "a", DType::kI32, {4});
  Arena first(plan, Device{});
  first[id].i32()[2] = 7;
  const Arena second(std::move(first));
  EXPECT_EQ(second[id].i32()[2], 7);
  EXPECT_EQ(second.plan().regions().size(), 1U);
  EXPECT_THROW((void)second[RegionId{5}], std::out_of_range);
  EXPECT_THROW((void)second[RegionId{}], std::out_of_range);
  const Arena empty(MemoryPlan{}, Device{});
  EXPECT_NO_THROW(empty.poison_all());
}

TEST(Arena, MemoryThatTheSystemRefusesIsAnEnvironmentError) {
  MemoryPlan plan;
  plan.add(MemoryUse::kWeights, "w", DType::kU8, {std::int64_t{1} << 50});
  EXPECT_EQ(error_of([&] { const Arena arena(plan, Device{}); }).code(), ExitCode::kEnvironment);
}

}  // namespace
}  // namespace rlcpp
