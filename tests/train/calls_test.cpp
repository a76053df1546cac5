// The list of a step's calls is the step: made again in order, on a memory from before the step, they leave
// the same bits.
#include "ops/calls.h"

#include <cstring>

#include "train/run.h"

namespace rlcpp::train {
namespace {

using Bytes = std::vector<std::byte>;

Tensor all_bytes(const Tensor& t) {
  return Tensor(t.raw(), DType::kU8, {static_cast<std::int64_t>(t.bytes())}, t.device());
}

std::vector<Tensor> regions_of(const Arena& arena) {
  std::vector<Tensor> out;
  for (std::size_t i = 0; i < arena.plan().regions().size(); ++i)
    out.push_back(arena[RegionId{static_cast<std::int32_t>(i)}]);
  return out;
}

std::vector<Bytes> snapshot(const Arena& arena) {
  std::vector<Bytes> out;
  for (const Tensor& t : regions_of(arena)) {
    copy(host_view(std::span(out.emplace_back(t.bytes())), DType::kU8), all_bytes(t));
  }
  return out;
}

struct Case {
  std::string name;
  bool rl, lora;
  model::Recompute recompute;
  std::string optimizer = "adamw";
};

class StepCalls : public ::testing::TestWithParam<Case> {};

void replay(const Case& c, Device device) {
  TrainerOptions options = plain_options();
  options.recompute = c.recompute;
  options.optim.type = c.optimizer;
  if (!c.rl) options.loss.type = "cross_entropy";
  model::AdapterConfig adapters;
  if (c.lora) {
    adapters.rank = 4;
    adapters.targets.fill(true);
    adapters.dropout = device.kind == DeviceKind::kCpu ? 0 : 0.1;
  }
  ops::CallLog log;
  TinyRun run(options, test::fresh_seed(), 2, true, device, 2, adapters, &log);
  Rng rng(test::fresh_seed());
  const std::vector<data::MicroBatch> rows = random_rows(rng, 1, c.rl);
  run.trainer->step(rows);
  run.trainer->synchronize();
  EXPECT_TRUE(log.calls.empty());
  const std::vector<Bytes> before = snapshot(*run.arena);
  log.on = true;
  ASSERT_FALSE(run.trainer->step(rows).skipped);
  log.on = false;
  run.trainer->synchronize();
  const std::vector<Bytes> after = snapshot(*run.arena);
  ASSERT_FALSE(log.calls.empty());
  EXPECT_EQ(log.depth, 0);

  const std::vector<MemoryPlan::Region>& regions = run.arena->plan().regions();
  const std::vector<Tensor> memory = regions_of(*run.arena);
  const auto is_result = [&](std::size_t i) {
    const MemoryUse use = regions[i].use;
    return use == MemoryUse::kWeights || use == MemoryUse::kGradients || use == MemoryUse::kOptimizer;
  };
  bool changed = false;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (regions[i].use == MemoryUse::kActivations || regions[i].use == MemoryUse::kLogits) {
      fill_bytes(memory[i], 0xFF);  // what no call makes again reads as NaN
    } else {
      // The host's only part of a step: coefficients that it made of log-probabilities.
      const bool coefficients = regions[i].name == "batch.coefficients";
      const Bytes& bytes = coefficients ? after[i] : before[i];
      copy(all_bytes(memory[i]), host_view(std::span(bytes), DType::kU8));
    }
    changed = changed || (is_result(i) && before[i] != after[i]);
  }
  ASSERT_TRUE(changed);
  ops::Context ctx = run.ctx;
  ctx.calls = nullptr;
  for (const ops::Call& call : log.calls) {
    SCOPED_TRACE(call.name);
    call.again(ctx, call.operands);
  }
  ops::synchronize(ctx);
  const std::vector<Bytes> again = snapshot(*run.arena);
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (is_result(i)) {
      EXPECT_EQ(again[i], after[i]) << regions[i].name;
    }
  }
}

TEST_P(StepCalls, MadeAgainAreTheStep) {
  replay(GetParam(), {});
  std::string why;
  if (!cuda::gpus(&why).empty()) replay(GetParam(), {DeviceKind::kCuda, 0});
}

INSTANTIATE_TEST_SUITE_P(All, StepCalls,
                         ::testing::Values(Case{"SftNone", false, false, model::Recompute::kNone},
                                           Case{"SftSelective", false, false, model::Recompute::kSelective},
                                           Case{"SftRecompute", false, false, model::Recompute::kFull},
                                           Case{"SftSgd", false, false, model::Recompute::kNone, "sgd"},
                                           Case{"SftSignSgd", false, false, model::Recompute::kNone,
                                                "sign_sgd"},
                                           Case{"SftMuon", false, false, model::Recompute::kNone, "muon"},
                                           Case{"RlNone", true, false, model::Recompute::kNone},
                                           Case{"RlRecompute", true, false, model::Recompute::kFull},
                                           Case{"SftLoraNone", false, true, model::Recompute::kNone},
                                           Case{"SftLoraRecompute", false, true, model::Recompute::kFull}),
                         [](const auto& of) { return of.param.name; });

}  // namespace
}  // namespace rlcpp::train
