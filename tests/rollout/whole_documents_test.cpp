#include "rollout/whole_documents.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "rollout/device_engine.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

// By trying every pair of ends.
WholeRun longest_by_search(const std::vector<StepPlan::Chunk>& chunks) {
  WholeRun best;
  for (std::size_t begin = 0; begin < chunks.size(); ++begin) {
    std::int64_t rows = 0;
    for (std::size_t end = begin; end < chunks.size(); ++end) {
      if (chunks[end].start != 0 || chunks[end].count == 1) break;
      rows += chunks[end].count;
      if (rows > best.rows) best = {begin, end + 1, rows};
    }
  }
  return best;
}

TEST(WholeDocuments, TheLongestRunOfPromptsFromTheirFirstTokenOn) {
  Rng rng(test::fresh_seed());
  int found = 0, none = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<StepPlan::Chunk> chunks;
    std::int32_t row = 0;
    const std::uint64_t count = rng.below(12);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto start = rng.below(3) == 0 ? static_cast<std::int32_t>(1 + rng.below(50)) : 0;
      const auto tokens = rng.below(4) == 0 ? 1 : static_cast<std::int32_t>(2 + rng.below(80));
      chunks.push_back({0, start, tokens, row});
      row += tokens;
    }
    const WholeRun expected = longest_by_search(chunks), got = whole_run(chunks);
    if (expected.rows < 128) {
      EXPECT_EQ(got.rows, 0);
      ++none;
      continue;
    }
    ++found;
    EXPECT_EQ(got.rows, expected.rows) << "seed " << rng.seed();
    EXPECT_EQ(got.begin, expected.begin) << "seed " << rng.seed();
    EXPECT_EQ(got.end, expected.end) << "seed " << rng.seed();
  }
  EXPECT_GT(found, 20);
  EXPECT_GT(none, 20);
}

// Two prompts of 200 tokens behind a decoding sequence.
const std::vector<StepPlan::Chunk> kPrompts = {{0, 30, 1, 0}, {1, 0, 200, 1}, {2, 0, 200, 201}};

TEST(WholeDocuments, OnACpuPromptsGoThroughPages) {
  Rng rng(test::fresh_seed());
  ThreadPool pool(1);
  const ops::Context ctx = ops::make_context({}, pool);
  EXPECT_EQ(whole_run(kPrompts).rows, 400);
  EXPECT_EQ(whole_run_on(ctx, tiny_config(TinyKind::kQwen3, rng), kPrompts).rows, 0);
}

// Where cuDNN does not compute them, the kernels for pages do; and what is asked for is what is then
// computed.
TEST_P(EngineDevice, WithoutTheLibraryPromptsGoThroughPages) {
  const model::ModelConfig model = device_config(GetParam(), 64, 1);
  ThreadPool pool(1);
  const Device gpu{DeviceKind::kCuda, 0};
  const ops::Context fast = ops::make_context(gpu, pool),
                     exact = ops::make_context(gpu, pool, ops::NumericMode::kExact);
  const bool library = ops::documents_in_library(fast, 400, 16, 400, model.qkv(), 0.125F);
  EXPECT_EQ(whole_run_on(fast, model, kPrompts).rows, library ? 400 : 0);
  ops::use_attention_kernels(fast, ops::AttentionKernels::kPortable);
  EXPECT_FALSE(ops::documents_in_library(fast, 400, 16, 400, model.qkv(), 0.125F));
  EXPECT_EQ(whole_run_on(fast, model, kPrompts).rows, 0);
  EXPECT_EQ(whole_run_on(exact, model, kPrompts).rows, 0);
}

// Answers have the trainer's probabilities both ways.
TEST_P(EngineDevice, AnswersAreProbableWithAndWithoutTheLibrary) {
  Rng rng(test::fresh_seed());
  TinyModel cpu(device_config(GetParam(), 64, 2), rng.next_u64());
  DeviceModel device(cpu);
  const std::vector<GroupRequest> all = requests(cpu.config, 40, rng);
  for (const auto kernels : {ops::AttentionKernels::kFastest, ops::AttentionKernels::kPortable}) {
    ops::use_attention_kernels(device.ctx, kernels);
    DeviceEngine e(cpu, device,
                   {.max_sequences = 64, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90});
    for (const GroupRequest& r : all) e.engine->submit(r);
    expect_probable(cpu, all, e.engine->run(), fmt::format("kernels {}", static_cast<int>(kernels)));
  }
}

TEST(WholeDocuments, FewNumbersOfPlacesAndRoomForAll) {
  for (std::int64_t n = 1; n <= 2000; ++n) {
    const std::int64_t places = whole_places(n);
    EXPECT_GE(places, n);
    EXPECT_TRUE(places == 16 || places == 64 || places == 256 || places == 1024 || places == 4096) << places;
  }
}

}  // namespace
}  // namespace rlcpp::rollout
