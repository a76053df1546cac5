#include "bench/flops.h"

#include <vector>

#include "support.h"

namespace rlcpp::bench {
namespace {

// Anchors of prime-rl tests/unit/train/test_perf.py, T = 1024.
const ModelShape kQwen06{28, 1024, 16, 128, 595'984'384, 0};

TEST(Flops, ReferenceAnchor) {
  EXPECT_EQ(reference_flops_per_token(kQwen06, 1024), 3'928'227'840.0);
}

TEST(Flops, AdaptersLeaveOutTheWeightGradients) {
  ModelShape lora = kQwen06;
  lora.adapter_parameters = 1'000'000;
  EXPECT_EQ(reference_flops_per_token(kQwen06, 1024) - reference_flops_per_token(lora, 1024),
            2.0 * 595'984'384 - 6.0 * 1'000'000);
}

TEST(Flops, TrueWorkOfOneTokenAndOfManyDocuments) {
  const ModelShape tiny{2, 8, 2, 4, 100, 0};
  // One token sees itself alone: 12 * layers * heads * head_dim * 1 pair.
  EXPECT_EQ(true_flops_of_row(tiny, std::vector<std::int64_t>{1}), 600.0 + 12.0 * 2 * 2 * 4);
  const double apart = true_flops_of_row(tiny, std::vector<std::int64_t>{3}) +
                       true_flops_of_row(tiny, std::vector<std::int64_t>{5});
  EXPECT_EQ(true_flops_of_row(tiny, std::vector<std::int64_t>{3, 5}), apart);
  EXPECT_LT(apart, true_flops_of_row(tiny, std::vector<std::int64_t>{8}));
}

TEST(Flops, HalvedHeadsMakeTheReferenceCausal) {
  // For Qwen3-0.6B hidden / heads is half of head_dim, so the reference's count equals the causal work but
  // for the diagonal.
  const double reference = reference_flops_per_token(kQwen06, 8192);
  const double exact = true_flops_of_row(kQwen06, std::vector<std::int64_t>{8192}) / 8192;
  EXPECT_NEAR(reference / exact, 1.0, 1e-3);
}

TEST(Flops, PeaksByDriverName) {
  bool known = false;
  EXPECT_EQ(gpu_peak_flops("NVIDIA H100 80GB HBM3", &known), 989e12);
  EXPECT_TRUE(known);
  EXPECT_EQ(gpu_peak_flops("NVIDIA H100 PCIe", &known), 756e12);
  EXPECT_EQ(gpu_peak_flops("NVIDIA RTX A6000", &known), 312e12);
  EXPECT_FALSE(known);
}

TEST(Flops, MeasuredPeakIsPlausible) {
  const double rate = measure_cpu_peak_flops(1);
  EXPECT_GT(rate, 1e9);   // any 64-bit machine
  EXPECT_LT(rate, 2e12);  // no single core
}

}  // namespace
}  // namespace rlcpp::bench
