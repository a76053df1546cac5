// The loads of `rlcpp bench rollout` and the least time that they can take.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "bench/python_random.h"
#include "bench/rollout_loads.h"
#include "bench/rollout_roofline.h"

namespace rlcpp::bench {
namespace {

constexpr LoadScale kFull{1, 151936};

// python3 -c 'import random; random.seed(S); print([random.getrandbits(32) for _ in range(4)])'
TEST(PythonRandom, GivesTheNumbersOfCPython) {
  for (const auto& [seed, words] : std::vector<std::pair<std::uint64_t, std::vector<std::uint32_t>>>{
           {0, {3626764237, 1654615998, 3255389356, 3823568514}},
           {1, {577090037, 2444712010, 3639700191, 3445702192}},
           {12345678901, {4063089813, 2562312935, 1408749075, 3728613023}}}) {
    PythonRandom random(seed);
    for (const std::uint32_t word : words) EXPECT_EQ(random.bits(32), word) << seed;
  }
  PythonRandom random(12345678901);
  for (const std::int64_t value : {710, 435, 988, 493, 462, 651}) EXPECT_EQ(random.randint(100, 1024), value);
  for (const std::int64_t value : {1878, 2741, 5515, 6125}) EXPECT_EQ(random.randint(0, 10000), value);
  for (const std::uint32_t value : {26U, 85U, 117U}) EXPECT_EQ(random.bits(7), value);
  // Behind several refills of the state; widths of 32 bits; below zero.
  PythonRandom later(7);
  std::uint32_t last = 0;
  for (int i = 0; i < 2000; ++i) last = later.bits(32);
  EXPECT_EQ(last, 2803521222U);
  EXPECT_EQ(later.randint(0, std::int64_t{1} << 31), 584913212);
  EXPECT_EQ(later.randint(-5, 5), -5);
}

TEST(RolloutLoads, NanoIsTheWorkloadOfNanoVllm) {
  const RolloutLoad load = nano_load(kFull);
  ASSERT_EQ(load.requests.size(), 256U);
  EXPECT_EQ(load.sequences(), 256);
  EXPECT_EQ(load.prompt_tokens(), 142827);
  EXPECT_EQ(load.output_tokens(), 133966);
  EXPECT_EQ(load.longest(), 2011);
  const RolloutRequest &first = load.requests.front(), &last = load.requests.back();
  EXPECT_EQ(first.prompt.size(), 964U);
  EXPECT_TRUE(std::ranges::equal(std::span(first.prompt).first(4), std::array{6311, 6890, 663, 4242}));
  EXPECT_EQ(first.max_tokens, 845);
  EXPECT_EQ(last.prompt.size(), 251U);
  EXPECT_TRUE(std::ranges::equal(std::span(last.prompt).last(3), std::array{6642, 9046, 1958}));
  EXPECT_EQ(last.max_tokens, 312);
}

TEST(RolloutLoads, APartOfALoadIsABeginningOfIt) {
  const RolloutLoad whole = nano_load(kFull), part = nano_load({0.1, 151936});
  ASSERT_EQ(part.requests.size(), 26U);
  for (std::size_t i = 0; i < part.requests.size(); ++i) {
    const auto &p = part.requests[i].prompt, &w = whole.requests[i].prompt;
    EXPECT_NEAR(static_cast<double>(p.size()), 0.1 * static_cast<double>(w.size()), 0.5);
    EXPECT_TRUE(std::equal(p.begin(), p.end(), w.begin()));
    EXPECT_GE(part.requests[i].max_tokens, 10);
  }
  for (const RolloutLoad& load : rollout_loads("all", {0.001, 100})) {
    EXPECT_GE(load.sequences(), 1) << load.name;
    for (const RolloutRequest& request : load.requests) {
      EXPECT_GE(request.max_tokens, load.name == "decode" ? 2 : 1);
      ASSERT_GE(request.prompt.size(), 1U);
      for (const std::int32_t id : request.prompt) EXPECT_TRUE(id >= 0 && id < 100);
    }
  }
}

TEST(RolloutLoads, GroupsDifferInNothingButWhatIsShared) {
  const RolloutLoad shared = groups_load(kFull, true), separate = groups_load(kFull, false);
  EXPECT_EQ(shared.requests.size(), 16U);
  EXPECT_EQ(separate.requests.size(), 256U);
  for (const RolloutLoad* load : {&shared, &separate}) {
    EXPECT_EQ(load->sequences(), 256);
    EXPECT_EQ(load->prompt_tokens(), 256 * 512);
    EXPECT_EQ(load->output_tokens(), 256 * 512);
    EXPECT_EQ(load->pages(16), 256 * 64);
    std::set<std::int32_t> firsts;
    for (const RolloutRequest& request : load->requests) firsts.insert(request.prompt.front());
    EXPECT_EQ(firsts.size(), load->requests.size()) << load->variant;
  }
}

TEST(RolloutLoads, NamesChooseThem) {
  EXPECT_EQ(rollout_loads("all", kFull).size(), 6U);
  ASSERT_EQ(rollout_loads("decode", kFull).size(), 2U);
  EXPECT_EQ(rollout_loads("decode", kFull)[1].sequences(), 8);
  ASSERT_EQ(rollout_loads("prefill", kFull).size(), 1U);
  EXPECT_EQ(rollout_loads("prefill", kFull)[0].prompt_tokens(), 65536);
  EXPECT_THROW(rollout_loads("everything", kFull), Error);
  // So many sequences, whatever their requests.
  for (const RolloutLoad& load : rollout_loads("all", {1, 151936, 20}))
    EXPECT_EQ(load.sequences(), load.name == "decode" ? (load.variant == "batch 1" ? 1 : 8) : 20)
        << load.variant;
}

// Two layers of one head of 4, 30 parameters in layers and 10 in the head, vocabulary 5, two bytes.
RolloutShape tiny_shape() {
  return {2, 1, 1, 4, 5, 30, 10, 2};
}
// So slow in products, or in memory, that the other does not count.
const RolloutMachine kSlowMemory{1, 1e30, "test"}, kSlowProducts{1e30, 1, "test"};

TEST(RolloutRoofline, CountsByHand) {
  const RolloutShape shape = tiny_shape();
  EXPECT_EQ(shape.kv_bytes(), 2 * 2 * 4 * 2);
  EXPECT_EQ(shape.weight_bytes(), 80);
  // One prompt of 3, 4 tokens out: three decode steps over 4, 5 and 6 kept tokens.
  const RolloutLoad one{"x", "", false, {{{1, 2, 3}, 1, 4}}};
  const Roofline memory = rollout_roofline(shape, one, 8, kSlowMemory);
  EXPECT_EQ(memory.decode_steps, 3);
  EXPECT_EQ(memory.kv_bytes, 32.0 * (4 + 5 + 6));
  EXPECT_NEAR(memory.decode_seconds, 3 * 80 + 32.0 * 15 + 3 * 20, 1e-9);
  EXPECT_NEAR(memory.prefill_seconds, 20, 1e-9);  // logits of the first token
  const Roofline products = rollout_roofline(shape, one, 8, kSlowProducts);
  // 2 x 30 a token, and 4 x 2 x 4 a pair of 1 + 2 + 3.
  EXPECT_NEAR(products.prefill_seconds, 3 * 60 + 32 * 6, 1e-9);
  EXPECT_NEAR(products.decode_seconds, 3 * 80 + 32 * 15, 1e-9);
}

TEST(RolloutRoofline, SharedPromptsAreComputedAndReadOnce) {
  const RolloutShape shape = tiny_shape();
  const RolloutLoad shared{"x", "", true, {{{1, 2, 3}, 3, 3}}};
  const RolloutLoad separate{"x", "", false, {{{1, 2, 3}, 3, 3}}};
  const Roofline a = rollout_roofline(shape, shared, 8, kSlowMemory),
                 b = rollout_roofline(shape, separate, 8, kSlowMemory);
  EXPECT_EQ(a.decode_steps, 2);
  EXPECT_EQ(b.decode_steps, 2);
  EXPECT_EQ(a.kv_bytes, 32.0 * ((3 + 3 * 1) + (3 + 3 * 2)));
  EXPECT_EQ(b.kv_bytes, 32.0 * (3 * (3 + 1) + 3 * (3 + 2)));
  EXPECT_NEAR(rollout_roofline(shape, separate, 8, kSlowProducts).prefill_seconds,
              3 * rollout_roofline(shape, shared, 8, kSlowProducts).prefill_seconds, 1e-9);
}

TEST(RolloutRoofline, NoMoreRunThanMay) {
  const RolloutShape shape = tiny_shape();
  // 4, 2 and 3 tokens out, two at once: the third begins when the second is done.
  const RolloutLoad load{"x", "", false, {{{1}, 1, 4}, {{1}, 1, 2}, {{1}, 1, 3}}};
  EXPECT_EQ(rollout_roofline(shape, load, 8, kSlowMemory).decode_steps, 3);
  EXPECT_EQ(rollout_roofline(shape, load, 2, kSlowMemory).decode_steps, 3);
  EXPECT_EQ(rollout_roofline(shape, load, 1, kSlowMemory).decode_steps, 3 + 1 + 2);
  // Nothing to decode.
  const RolloutLoad prompts{"x", "", false, {{{1, 2}, 1, 1}}};
  EXPECT_EQ(rollout_roofline(shape, prompts, 8, kSlowMemory).decode_steps, 0);
}

// The figures that the project starts from: 5.24 s and 25.6k tokens/s for 0.6B, 10.1 s and 13.3k for 4B.
TEST(RolloutRoofline, NanoOnAnH100) {
  const RolloutMachine h100 = gpu_rollout_machine("NVIDIA H100 80GB HBM3");
  EXPECT_EQ(h100.bytes_per_second, 3.0e12);
  EXPECT_EQ(h100.flops, 780e12);
  const RolloutLoad load = nano_load(kFull);
  const RolloutShape small{28, 16, 8, 128, 151936, 0.4404e9, 0.1556e9, 2};
  EXPECT_EQ(small.kv_bytes(), 114688);
  const Roofline of_small = rollout_roofline(small, load, 256, h100);
  EXPECT_NEAR(of_small.seconds(), 5.24, 0.02);
  EXPECT_EQ(of_small.decode_steps, 1023);
  const RolloutShape large{36, 32, 8, 128, 151936, 3.633e9, 0.389e9, 2};
  EXPECT_NEAR(rollout_roofline(large, load, 256, h100).seconds(), 10.1, 0.05);
  // 781k prompt tokens a second at 1024.
  const Roofline prefill = rollout_roofline(small, prefill_load(kFull), 256, h100);
  EXPECT_NEAR(65536 / prefill.prefill_seconds, 781e3, 5e3);
  EXPECT_FALSE(gpu_rollout_machine("NVIDIA GeForce RTX 4070").known());
}

TEST(RolloutRoofline, TheCpuIsMeasured) {
  const RolloutMachine machine = cpu_rollout_machine(1);
  EXPECT_GT(machine.bytes_per_second, 1e8);
  EXPECT_LT(machine.bytes_per_second, 1e13);
  EXPECT_GT(machine.flops, 1e8);
}

}  // namespace
}  // namespace rlcpp::bench
