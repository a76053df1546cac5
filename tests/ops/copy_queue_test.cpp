#include "ops/copy_queue.h"

#include <numeric>

#include "ops/ops_support.h"
#include "ops/optimizer.h"
#include "tensor/arena.h"
#include "tensor/copy.h"

namespace rlcpp::test {
namespace {

// Chains of operations and copies through slots that are used again and again, with copies or operations held
// up so that an order left to chance would go wrong.
class Queues : public OnEveryDevice {
 protected:
  void TearDown() override { ops::delay_for_tests(context(), 0, 0); }
};
INSTANTIATE_TEST_SUITE_P(, Queues, every_device(), device_name);

struct Delay {
  double copy, operation;
};
constexpr std::array<Delay, 3> kDelays = {{{0, 0}, {300, 0}, {0, 300}}};

// Doubles every element of host memory, a slot at a time: in on one queue, the operation, out on another.
TEST_P(Queues, StreamThroughSlotsInAndOut) {
  const ops::Context ctx = context();
  constexpr std::int64_t kSlots = 3, kChunk = 5000, kChunks = 11;
  MemoryPlan plan;
  const RegionId host = plan.add(MemoryUse::kHostOptimizer, "host", DType::kF32, {kChunks, kChunk});
  const RegionId slots = plan.add(MemoryUse::kWorkspace, "slots", DType::kF32, {kSlots, kChunk});
  const Arena arena(plan, ctx.device);
  EXPECT_EQ(arena[host].device(), Device{});
  EXPECT_EQ(arena[slots].device(), ctx.device);
  for (const Delay delay : kDelays) {
    arena.poison_all();
    std::iota(arena[host].f32(), arena[host].f32() + kChunks * kChunk, 1.0F);
    ops::delay_for_tests(ctx, delay.copy, delay.operation);
    ops::CopyQueue in(ctx, kSlots), out(ctx, kSlots);
    for (int pass = 0; pass < 2; ++pass) {
      for (std::int64_t c = 0; c < kChunks; ++c) {
        const auto slot = static_cast<std::size_t>(c % kSlots);
        const Tensor place = arena[slots].rows(c % kSlots, 1), chunk = arena[host].rows(c, 1);
        in.follow(out, slot);
        in.copy(place, chunk);
        in.mark(slot);
        in.hold_operations(slot);
        ops::scale(ctx, place, 2.0F);
        out.follow_operations();
        out.copy(chunk, place);
        out.mark(slot);
      }
    }
    out.synchronize();
    for (std::int64_t i = 0; i < kChunks * kChunk; ++i) {
      ASSERT_EQ(arena[host].f32()[i], 4.0F * static_cast<float>(i + 1)) << i << ", delay " << delay.copy;
    }
  }
}

// What was queued before a mark is there for later operations; what comes after it may be late.
TEST_P(Queues, AMarkHoldsWhatWasQueuedBeforeIt) {
  const ops::Context ctx = context();
  constexpr std::int64_t kSize = 3000;
  MemoryPlan plan;
  const RegionId host = plan.add(MemoryUse::kHostActivations, "host", DType::kF32, {4, kSize});
  const RegionId device = plan.add(MemoryUse::kWorkspace, "device", DType::kF32, {2, kSize});
  const Arena arena(plan, ctx.device);
  for (const Delay delay : kDelays) {
    arena.poison_all();
    std::iota(arena[host].f32(), arena[host].f32() + 2 * kSize, 0.0F);
    ops::delay_for_tests(ctx, delay.copy, delay.operation);
    ops::CopyQueue queue(ctx, 3);
    queue.hold_operations(0);  // never made: nothing to wait for
    for (std::int64_t row = 0; row < 2; ++row) {
      queue.copy(arena[device].rows(row, 1), arena[host].rows(row, 1));
      queue.mark(static_cast<std::size_t>(row));
    }
    for (std::int64_t row = 0; row < 2; ++row) {
      queue.hold_operations(static_cast<std::size_t>(row));
      ops::scale(ctx, arena[device].rows(row, 1), 3.0F);
    }
    queue.follow_operations();
    queue.copy(arena[host].rows(2, 2), arena[device]);
    queue.synchronize();
    for (std::int64_t i = 0; i < 2 * kSize; ++i) {
      ASSERT_EQ(arena[host].f32()[2 * kSize + i], 3.0F * static_cast<float>(i)) << i;
    }
  }
}

TEST_P(Queues, DestructionWaitsForTheCopies) {
  const ops::Context ctx = context();
  MemoryPlan plan;
  const RegionId a = plan.add(MemoryUse::kHostActivations, "a", DType::kU8, {1 << 20});
  const RegionId b = plan.add(MemoryUse::kHostActivations, "b", DType::kU8, {1 << 20});
  const RegionId device = plan.add(MemoryUse::kWorkspace, "device", DType::kU8, {1 << 20});
  const Arena arena(plan, ctx.device);
  fill_bytes(arena[a], 7);
  ops::delay_for_tests(ctx, 2000, 0);
  {
    ops::CopyQueue queue(ctx, 0);
    queue.copy(arena[device], arena[a]);
    queue.copy(arena[b], arena[device]);
  }
  EXPECT_EQ(std::memcmp(arena[a].raw(), arena[b].raw(), 1 << 20), 0);
}

}  // namespace
}  // namespace rlcpp::test
