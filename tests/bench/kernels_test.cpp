#include "bench/kernels.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "base/error.h"
#include "bench/flops.h"
#include "train/run.h"

namespace rlcpp::bench {
namespace {

struct StepOf {
  bool rl = false;
  std::int64_t lora_rank = 0;
  model::Recompute recompute = model::Recompute::kNone;
  bool alike = false;  // both rows have the same documents
};

// A step of two rows of some documents, by its calls.
struct LoggedStep {
  explicit LoggedStep(const StepOf& what) {
    train::TrainerOptions options = train::plain_options();
    options.recompute = what.recompute;
    if (!what.rl) options.loss.type = "cross_entropy";
    model::AdapterConfig adapters;
    if (what.lora_rank > 0) {
      adapters.rank = what.lora_rank;
      adapters.targets.fill(true);
    }
    run = std::make_unique<train::TinyRun>(options, 1, 2, false, Device{}, 3, adapters, &log);
    Rng rng(test::fresh_seed());
    rows = train::random_rows(rng, 2, what.rl);
    if (what.alike) rows[1] = rows[0];
    log.on = true;
    run->trainer->step(rows);
    log.on = false;
  }
  double flops() const {
    return std::accumulate(log.calls.begin(), log.calls.end(), 0.0,
                           [](double sum, const ops::Call& call) { return sum + call.flops; });
  }
  double tokens() const {
    return static_cast<double>(rows[0].tokens()) + static_cast<double>(rows[1].tokens());
  }
  // What the formula of bench/flops.h says of these rows.
  double formula() const {
    const model::ModelConfig& c = run->config;
    ModelShape shape{c.num_layers, c.hidden_size, c.num_heads, c.head_dim, c.matmul_parameters(), 0};
    shape.adapter_parameters = model::adapter_parameters(c);
    double sum = 0;
    for (const data::MicroBatch& row : rows) {
      std::vector<std::int64_t> lengths;
      for (std::size_t d = 1; d < row.cu_seqlens.size(); ++d)
        lengths.push_back(row.cu_seqlens[d] - row.cu_seqlens[d - 1]);
      sum += true_flops_of_row(shape, lengths);
    }
    return sum;
  }
  // Of the attention's forward alone.
  double attention_forward() const {
    const model::ModelConfig& c = run->config;
    ModelShape shape{c.num_layers, c.hidden_size, c.num_heads, c.head_dim, 0, 0};
    double sum = 0;
    for (const data::MicroBatch& row : rows) {
      for (std::size_t d = 1; d < row.cu_seqlens.size(); ++d) {
        const std::int64_t length = row.cu_seqlens[d] - row.cu_seqlens[d - 1];
        sum += true_flops_of_row(shape, std::vector<std::int64_t>{length}) / 3;
      }
    }
    return sum;
  }

  ops::CallLog log;
  std::unique_ptr<train::TinyRun> run;
  std::vector<data::MicroBatch> rows;
};

TEST(KernelSum, ArithmeticOfAStepIsTheFormulas) {
  for (const bool rl : {false, true}) {
    for (const auto recompute : {model::Recompute::kNone, model::Recompute::kSelective}) {
      const LoggedStep step({rl, 0, recompute});
      EXPECT_EQ(step.flops(), step.formula()) << rl;
    }
  }
}

TEST(KernelSum, RecomputationAddsTheForwardButForTheLastProduct) {
  const LoggedStep step({false, 0, model::Recompute::kFull});
  const model::ModelConfig& c = step.run->config;
  const std::int64_t of_layer = c.hidden_size * c.qkv().width() + c.num_heads * c.head_dim * c.hidden_size +
                                c.hidden_size * 2 * c.intermediate_size;
  EXPECT_EQ(step.flops(), step.formula() + step.attention_forward() +
                              2.0 * step.tokens() * static_cast<double>(c.num_layers * of_layer));
}

// Three more terms: zeros of the expanded B (docs/architecture.md), and what nobody under layer 0 needs.
TEST(KernelSum, ArithmeticOfAdaptersIsTheFormulasAndTheZeros) {
  for (const bool rl : {false, true}) {
    const LoggedStep step({rl, 3, model::Recompute::kNone});
    const model::ModelConfig& c = step.run->config;
    double zeros = 0;
    for (const model::AdapterShape& shape : model::adapter_shapes(c)) {
      const auto width = static_cast<std::int64_t>(shape.blocks.targets) * 3;
      zeros += static_cast<double>(c.num_layers * (shape.out * width - shape.blocks.rows() * 3));
    }
    const std::int64_t input_of_first = c.hidden_size * (c.qkv().width() + 3 * 3);
    EXPECT_EQ(step.flops(),
              step.formula() + step.tokens() * (6 * zeros - 2 * static_cast<double>(input_of_first)));
  }
}

// Counted by hand from the architecture, not from the decoder.
TEST(KernelSum, CallsOfAStepAreThoseOfTheArchitecture) {
  for (const auto recompute :
       {model::Recompute::kNone, model::Recompute::kSelective, model::Recompute::kFull}) {
    for (const bool rl : {false, true}) {
      const LoggedStep step({rl, 0, recompute});
      const bool full = recompute == model::Recompute::kFull, again = recompute != model::Recompute::kNone;
      const std::int64_t rows = 2, layers = 3;
      const std::int64_t each = rows * layers;
      const std::int64_t parameters = 8 * layers + 3;  // two norms, two of q and k, four products; and three
      std::map<std::string, std::int64_t> expected = {
          {"embedding_forward", rows},
          {"embedding_backward", rows},
          // The first norm of the stack; later ones add the residual. Each is made again from its input.
          {"rmsnorm_forward", rows + (full    ? each
                                      : again ? 2 * each
                                              : 0)},
          {"add_rmsnorm_forward", 2 * each + (full ? each : 0)},
          {"rmsnorm_backward", rows},
          {"rmsnorm_backward (+=)", 2 * each},
          {"linear_forward", 3 * each + (full ? 2 * each : 0)},
          {"linear_swiglu_forward, kept", each},
          {"qk_norm_rope_forward", (again ? 2 : 1) * each},
          {"qk_norm_rope_backward", each},
          {"attention_forward", (full ? 2 : 1) * each},
          {"attention_backward", each},
          {"swiglu_backward", each},
          {"linear_backward_input", 4 * each},
          {"linear_backward_weight (+=)", 4 * each},
          {"zero", parameters},
          {"sum_of_squares", 1},
          {"adamw", parameters},
          {"pack_weight", 4 * layers + 1}};
      if (full) expected["linear_swiglu_forward"] = each;
      if (recompute == model::Recompute::kSelective) expected["swiglu_forward"] = each;
      if (rl) {
        expected["head_logprobs"] = expected["head_backward"] = rows;
      } else {
        expected["head_fused"] = rows;
      }
      std::map<std::string, std::int64_t> found;
      for (const ops::Call& call : step.log.calls) ++found[call.name];
      EXPECT_EQ(found, expected) << static_cast<int>(recompute) << rl;
      std::size_t grouped = 0;
      for (const KernelGroup& group : group_calls(step.log.calls)) {
        for (const ops::Call& call : group.calls) EXPECT_EQ(call.name, group.name);
        grouped += group.calls.size();
      }
      EXPECT_EQ(grouped, step.log.calls.size());
    }
  }
}

TEST(KernelSum, EveryOperationOfAStepCanBeMeasured) {
  // Documents' boundaries lie where the last row left them, so a call of another row would not fit them.
  for (const StepOf& what :
       {StepOf{false, 0, model::Recompute::kFull, true}, StepOf{true, 0, model::Recompute::kNone, true},
        StepOf{true, 3, model::Recompute::kFull, true}}) {
    LoggedStep step(what);
    ops::Context ctx = step.run->ctx;
    ctx.calls = nullptr;
    std::vector<std::byte> memory(std::size_t{1} << 20);
    KernelOptions options;
    options.seconds = 1e-4;
    for (const bool copies : {true, false}) {
      options.rotation = copies ? host_view(std::span(memory), DType::kU8) : Tensor();
      for (const KernelGroup& group : group_calls(step.log.calls)) {
        const std::vector<float> before = to_floats(step.run->weights.flat.front());
        const KernelTime time = measure_group(ctx, group, options);
        EXPECT_GT(time.seconds, 0) << group.name;
        EXPECT_GE(time.samples, 3);
        EXPECT_GT(time.repeats, time.samples);
        if (copies) {
          EXPECT_GT(time.places, 1) << group.name;
          EXPECT_EQ(to_floats(step.run->weights.flat.front()), before) << group.name;
        } else {
          EXPECT_EQ(time.places, static_cast<std::int64_t>(group.calls.size())) << group.name;
        }
      }
    }
  }
}

// An operation of known duration, that says where it was called.
KernelGroup sleeping(double seconds, const Tensor& a, const Tensor& b, std::vector<const void*>& seen) {
  ops::Call call;
  call.name = "sleep";
  call.operands = {a, b, a};
  call.again = [seconds, &seen](const ops::Context&, const ops::Call::Operands& t) {
    seen.push_back(t[0].raw());
    EXPECT_EQ(t[0].raw(), t[2].raw());  // one memory stays one
    EXPECT_NE(t[0].raw(), t[1].raw());
    EXPECT_EQ(t[0].f32()[0], 1.0F);
    EXPECT_EQ(t[1].f32()[0], 2.0F);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  };
  return {"sleep", "", 0, 0, {call}};
}

class KernelMeasurement : public ::testing::Test {
 protected:
  std::vector<float> one_ = std::vector<float>(1000, 1.0F), two_ = std::vector<float>(10, 2.0F);
  Tensor a_ = host_view(std::span(one_), DType::kF32), b_ = host_view(std::span(two_), DType::kF32);
  std::vector<std::byte> memory_ = std::vector<std::byte>(20000);
  ThreadPool pool_{1};
  ops::Context ctx_ = ops::make_context(Device{}, pool_);
  std::vector<const void*> seen_;
  KernelOptions options_;
};

TEST_F(KernelMeasurement, TakesTheTimeOfACallAndTurnsOverMemory) {
  options_.rotation = host_view(std::span(memory_), DType::kU8);
  options_.seconds = 0.05;
  const KernelTime time = measure_group(ctx_, sleeping(3e-3, a_, b_, seen_), options_);
  EXPECT_GE(time.seconds, 3e-3);
  EXPECT_LT(time.seconds, 30e-3);
  EXPECT_EQ(time.places, 4);  // of 4096 + 256 bytes each in 20000
  ASSERT_EQ(static_cast<std::int64_t>(seen_.size()), time.repeats);
  for (std::size_t i = 4; i < seen_.size(); ++i) EXPECT_EQ(seen_[i], seen_[i - 4]);
  EXPECT_EQ(std::set<const void*>(seen_.begin(), seen_.end()).size(), 4U);
  EXPECT_EQ(std::ranges::count(seen_, a_.raw()), 0);
}

TEST_F(KernelMeasurement, LargeOperandsStayWhereTheyAre) {
  options_.rotation = host_view(std::span(memory_).first(8000), DType::kU8);
  options_.seconds = 0.01;
  EXPECT_EQ(measure_group(ctx_, sleeping(1e-4, a_, b_, seen_), options_).places, 1);
  EXPECT_TRUE(std::ranges::all_of(seen_, [&](const void* at) { return at == a_.raw(); }));
}

TEST_F(KernelMeasurement, FillsWhatMayBeRandomAndNothingElse) {
  options_.seconds = 0.001;
  KernelGroup group = sleeping(0, a_, b_, seen_);
  group.calls[0].again = [](const ops::Context&, const ops::Call::Operands&) {};
  options_.random = [&](const Tensor& t) { return t.raw() == b_.raw(); };
  measure_group(ctx_, group, options_);
  EXPECT_EQ(one_, std::vector<float>(1000, 1.0F));
  EXPECT_NE(two_, std::vector<float>(10, 2.0F));
}

TEST_F(KernelMeasurement, GivesUpWithTheNameOfTheOperation) {
  options_.timeout = 0.01;
  try {
    measure_group(ctx_, sleeping(0.02, a_, b_, seen_), options_);
    FAIL() << "it waited for ever";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kFailed);
    EXPECT_NE(e.render().find("sleep"), std::string::npos) << e.render();
  }
}

}  // namespace
}  // namespace rlcpp::bench
