#include "tensor/staging.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "support.h"
#include "tensor/arena.h"
#include "tensor/copy.h"
#include "tensor/stream_copy.h"

namespace rlcpp {
namespace {

std::vector<std::byte> noise(std::size_t size, std::mt19937_64& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

TEST(StreamCopy, WritesWhatIsAskedAndNothingBeside) {
  std::mt19937_64 random(test::fresh_seed());
  const std::vector<std::byte> from = noise(4096, random);
  for (int i = 0; i < 2000; ++i) {
    const std::size_t size = random() % (i % 2 == 0 ? 200 : 3000);
    const std::size_t at = random() % 128, source = random() % 128;
    std::vector<std::byte> to(4096, std::byte{0xA5}), wanted = to;
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(source), size,
                wanted.begin() + static_cast<std::ptrdiff_t>(at));
    stream_copy(std::span(to).subspan(at, size), from.data() + source);
    ASSERT_TRUE(to == wanted) << size << " bytes from " << source << " to " << at;
  }
}

class Staging : public testing::TestWithParam<Device> {
 protected:
  std::mt19937_64 random_{test::fresh_seed()};
};

std::vector<Device> devices() {
  std::string why;
  std::vector<Device> list = {Device{}};
  if (!cuda::gpus(&why).empty()) list.push_back({DeviceKind::kCuda, 0});
  return list;
}

// Copies of all sizes that are under way together, finished one by one, with others between them.
TEST_P(Staging, CopiesThatAreUnderWayTogetherDoNotMix) {
  constexpr std::size_t kBytes = std::size_t{24} << 20;
  MemoryPlan plan;
  const RegionId id = plan.add(MemoryUse::kActivations, "bytes", DType::kU8, {kBytes});
  Arena arena(std::move(plan), GetParam());
  const Tensor there = arena[id];
  const auto* memory = static_cast<const std::byte*>(there.raw());
  const std::vector<std::byte> from = noise(kBytes, random_);
  Stager stager(GetParam());
  stager.to_device(there.raw(), GetParam(), from);

  struct Copy {
    std::size_t at;
    std::vector<std::byte> to;
    Stager::Ticket ticket = 0;
  };
  std::vector<Copy> copies(12);
  const auto is_there = [&](const Copy& c) {
    return std::equal(c.to.begin(), c.to.end(), from.begin() + static_cast<std::ptrdiff_t>(c.at));
  };
  for (std::size_t i = 0; i < copies.size(); ++i) {
    Copy& c = copies[i];
    const std::size_t size = random_() % (i % 3 == 0 ? kBytes / 2 : std::size_t{3} << 19);
    c.at = random_() % (kBytes - size + 1);
    c.to.assign(size, std::byte{0xA5});
    c.ticket = stager.begin_to_host(c.to, memory + c.at, GetParam());
    if (i > 0) {
      stager.finish(copies[i - 1].ticket);
      EXPECT_TRUE(is_there(copies[i - 1])) << i;
    }
    if (i % 4 == 2) {
      Copy whole{random_() % 1000, std::vector<std::byte>(kBytes / 3)};
      stager.to_host(whole.to, memory + whole.at, GetParam());
      EXPECT_TRUE(is_there(whole)) << i;
    }
  }
  stager.finish(stager.newest());
  EXPECT_TRUE(is_there(copies.back()));
}

TEST_P(Staging, WhatIsDroppedIsNotWrittenLater) {
  constexpr std::size_t kBytes = std::size_t{2} << 20;
  MemoryPlan plan;
  const RegionId id = plan.add(MemoryUse::kActivations, "bytes", DType::kU8, {kBytes});
  Arena arena(std::move(plan), GetParam());
  const Tensor there = arena[id];
  const std::vector<std::byte> from = noise(kBytes, random_);
  Stager stager(GetParam());
  stager.to_device(there.raw(), GetParam(), from);
  std::vector<std::byte> dropped(kBytes), wanted(kBytes);
  stager.begin_to_host(dropped, there.raw(), GetParam());
  stager.drop();
  std::fill(dropped.begin(), dropped.end(), std::byte{7});
  const auto ticket = stager.begin_to_host(wanted, there.raw(), GetParam());
  stager.finish(ticket);
  EXPECT_TRUE(wanted == from);
  EXPECT_TRUE(std::all_of(dropped.begin(), dropped.end(), [](std::byte b) { return b == std::byte{7}; }));
}

INSTANTIATE_TEST_SUITE_P(Test, Staging, testing::ValuesIn(devices()), [](const auto& device) {
  return device.param.kind == DeviceKind::kCpu ? "Cpu" : "Cuda";
});

}  // namespace
}  // namespace rlcpp
