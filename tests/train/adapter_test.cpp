// Training adapters of a frozen model, on every device that is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/durable.h"
#include "hub/safetensors.h"
#include "model/adapter_files.h"
#include "model/checkpoint.h"
#include "train/checkpoint.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

std::vector<Device> devices() {
  std::vector<Device> all = {Device{}};
  std::string why;
  if (!cuda::gpus(&why).empty()) all.push_back({DeviceKind::kCuda, 0});
  return all;
}

std::string name_of_device(const ::testing::TestParamInfo<Device>& info) {
  return info.param.kind == DeviceKind::kCpu ? "Cpu" : "Cuda";
}

model::AdapterConfig adapters(std::int64_t rank = 8) {
  model::AdapterConfig out;
  out.rank = rank;
  out.alpha = 16;
  out.targets.fill(true);
  out.base = "tiny";
  return out;
}

template <class Call>
void expect_refused(const Call& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "nothing was refused: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

class Adapters : public ::testing::TestWithParam<Device> {
 protected:
  bool on_gpu() const { return GetParam().kind == DeviceKind::kCuda; }
  std::unique_ptr<TinyRun> run(const TrainerOptions& options = plain_options(), std::uint64_t seed = 1,
                               const model::AdapterConfig& config = adapters(), bool tied = true) const {
    return std::make_unique<TinyRun>(options, seed, 2, tied, GetParam(), 2, config);
  }
  static std::vector<float> masters(const TinyRun& run) { return run.trained(&TrainedParameter::master); }
  static void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << what;
  }
};

TEST_P(Adapters, AStepChangesThemAndNothingElse) {
  for (const bool rl : {false, true}) {
    Rng rng(test::fresh_seed());
    const auto it = run();
    const std::vector<float> base = it->all_weights(), before = masters(*it);
    const StepResult result = it->trainer->step(random_rows(rng, 2, rl));
    EXPECT_FALSE(result.skipped);
    EXPECT_GT(result.grad_norm, 0);
    expect_same_bits(it->all_weights(), base, "the frozen base");
    const std::vector<float> after = masters(*it);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < after.size(); ++i) changed += after[i] != before[i] ? 1 : 0;
    EXPECT_GT(changed, after.size() * 9 / 10);
    EXPECT_EQ(static_cast<std::int64_t>(after.size()), model::adapter_parameters(it->config));
  }
}

TEST_P(Adapters, TheFrozenBaseHasNoGradientsNoMomentsAndNoMasters) {
  ThreadPool pool(1);
  const ops::Context ctx = ops::make_context(GetParam(), pool);
  model::ModelConfig config = tiny_config();
  config.adapters = adapters(4);
  MemoryPlan plan;
  model::plan_weights(config, plan, MemoryUse::kWeights, "w.", ctx.compute_type());
  model::plan_adapters(config, ctx, plan);
  TrainerOptions options = plain_options();
  options.max_tokens = 32;
  Trainer::plan(ctx, config, options, plan);
  // A, B and the expanded B of each product: 24 = hidden, 3 heads of 8, 1 kv head, 40 = intermediate.
  const std::size_t a = 4 * (3 * 24 + 24 + 2 * 24 + 40), b = 4 * ((24 + 16) + 24 + 80 + 24);
  const std::size_t expanded = 4 * (3 * 40 + 24 + 2 * 80 + 24);
  ASSERT_EQ(static_cast<std::int64_t>(2 * (a + b)), model::adapter_parameters(config));
  std::size_t gradients = 0, optimizer = 0;
  for (const MemoryPlan::Region& region : plan.regions()) {
    if (region.name == "gradients of adapters") continue;  // holds those that are named below
    std::size_t size = size_of(region.type);
    for (const std::int64_t dim : region.shape) size *= static_cast<std::size_t>(dim);
    if (region.use == MemoryUse::kGradients) gradients += size;
    if (region.use == MemoryUse::kOptimizer) optimizer += size;
  }
  EXPECT_EQ(gradients, 2 * 4 * (a + b + expanded));
  // Two moments, and masters; on the CPU the decoder reads A's.
  EXPECT_EQ(optimizer, 2 * 4 * (2 * (a + b) + b + (on_gpu() ? a : 0)));
}

// On a GPU against f32 of the CPU: a few tokens of a tiny model in bf16 are off by 3 to 5 % as a rule, and
// one draw in twelve by more than 8 (300 draws on an H100), where sums nearly cancel or a ratio crosses the
// bound of a mask. So the bounds are for the middle one of nine draws.
TEST_P(Adapters, AStepAgreesWithTheCpuInF32) {
  const int draws = on_gpu() ? 9 : 1;
  for (const bool rl : {false, true}) {
    std::vector<double> of_loss, of_norm, of_gradient;
    for (int draw = 0; draw < draws; ++draw) {
      Rng rng(test::fresh_seed());
      const auto rows = random_rows(rng, 3, rl);
      TinyRun cpu(plain_options(), 5, 1, true, Device{}, 2, adapters());
      const auto here = run(plain_options(), 5);
      const StepResult expected = cpu.trainer->step(rows);
      const StepResult result = here->trainer->step(rows);
      of_loss.push_back(std::abs(result.loss - expected.loss) / (1 + std::abs(expected.loss)));
      of_norm.push_back(std::abs(result.grad_norm - expected.grad_norm) / expected.grad_norm);
      const std::vector<float> a = here->gradients(), b = cpu.gradients();
      double difference = 0, norm = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        difference += d * d;
        norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
      }
      of_gradient.push_back(std::sqrt(difference / norm));
    }
    const auto middle = [](std::vector<double>& values) {
      std::ranges::sort(values);
      return values[values.size() / 2];
    };
    EXPECT_LE(middle(of_loss), on_gpu() ? 0.02 : 0.0) << rl;
    EXPECT_LE(middle(of_norm), on_gpu() ? 0.05 : 0.0) << rl;
    EXPECT_LE(middle(of_gradient), on_gpu() ? 0.08 : 0.0) << rl;
  }
}

// With B = 0 the adapted model is its base, so dB = alpha / rank * dW A^T, where dW is what full fine-tuning
// of the same rows gives. That visits its head twice, adapters their frozen one once.
TEST_P(Adapters, GradientsAreThoseOfFullFineTuning) {
  for (const bool rl : {false, true}) {
    Rng rng(test::fresh_seed());
    const auto rows = random_rows(rng, 3, rl);
    const auto adapted = run(plain_options(), 5);
    TinyRun full(plain_options(), 5, 2, true, GetParam());
    std::map<std::string, std::vector<float>> a;
    for (const TrainedParameter& p : adapted->trainer->trained()) {
      if (p.name.ends_with("lora_B")) {
        fill_bytes(p.master, 0);
      } else {
        a[p.name] = to_floats(p.master);
      }
    }
    adapted->trainer->repack();
    const StepResult expected = full.trainer->step(rows), result = adapted->trainer->step(rows);
    EXPECT_NEAR(result.loss, expected.loss, on_gpu() ? 1e-3 * (1 + std::abs(expected.loss)) : 0) << rl;
    std::map<std::string, std::vector<float>> dw;
    for (const TrainedParameter& p : full.trainer->trained()) dw[p.name] = to_floats(p.gradient);
    double difference = 0, norm = 0;
    int compared = 0;
    for (const TrainedParameter& p : adapted->trainer->trained()) {
      const std::string name = p.name.substr(0, p.name.rfind('.'));
      if (!p.name.ends_with("lora_B") || !(name.ends_with(".out") || name.ends_with(".down"))) continue;
      ++compared;
      const std::vector<float> db = to_floats(p.gradient);
      const std::vector<float>&w = dw.at(name), &factor = a.at(name + ".lora_A");
      const auto out = static_cast<std::size_t>(p.gradient.dim(0)),
                 rank = static_cast<std::size_t>(p.gradient.dim(1));
      const std::size_t in = factor.size() / rank;
      ASSERT_EQ(w.size(), out * in);
      for (std::size_t o = 0; o < out; ++o) {
        for (std::size_t r = 0; r < rank; ++r) {
          double wanted = 0;
          for (std::size_t k = 0; k < in; ++k) wanted += double{w[o * in + k]} * double{factor[r * in + k]};
          wanted *= adapted->config.adapters.scale();
          difference += std::pow(double{db[o * rank + r]} - wanted, 2);
          norm += wanted * wanted;
        }
      }
    }
    EXPECT_EQ(compared, 4);
    EXPECT_GT(norm, 0);
    // On a GPU A x and the product's gradient are rounded to bf16, one road more than dW has.
    EXPECT_LE(std::sqrt(difference / norm), on_gpu() ? 0.04 : 1e-5) << rl;
  }
}

TEST_P(Adapters, MicroBatchesAddUpToOneBatch) {
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 3);
  const auto apart = run(), together = run();
  apart->trainer->step(rows);
  together->trainer->step({joined(rows)});
  const std::vector<float> a = apart->gradients(), b = together->gradients();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  EXPECT_LE(std::sqrt(difference / norm), on_gpu() ? 0.02 : 1e-5);
}

TEST_P(Adapters, TheSameSeedGivesTheSameBitsWithAnyRecomputation) {
  const std::uint64_t seed = test::fresh_seed();
  std::vector<float> first;
  for (const auto policy : {model::Recompute::kNone, model::Recompute::kNone, model::Recompute::kSelective,
                            model::Recompute::kFull}) {
    Rng rng(seed);
    TrainerOptions options = plain_options();
    options.recompute = policy;
    const auto it = run(options);
    for (int step = 0; step < 3; ++step) it->trainer->step(random_rows(rng, 2, true));
    if (first.empty()) first = masters(*it);
    expect_same_bits(masters(*it), first, "adapters after three steps");
  }
}

TEST_P(Adapters, TheyLearnABatchByHeart) {
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 2);
  TrainerOptions options = plain_options();
  options.optim.lr = 2e-2;
  options.scheduler.warmup_steps = 0;
  const auto it = run(options);
  const double before = it->trainer->step(rows).loss;
  for (int step = 0; step < 60; ++step) it->trainer->step(rows);
  EXPECT_LT(it->trainer->evaluate(rows), 0.5 * before);
}

TEST_P(Adapters, ARestoredTrainerGoesOnWithTheSameBits) {
  Rng rng(test::fresh_seed());
  const auto before = random_rows(rng, 2), after = random_rows(rng, 2);
  const test::TemporaryDirectory dir;
  const auto whole = run();
  whole->trainer->step(before);
  CheckpointContent content;
  content.progress.step = 1;
  save_checkpoint(durable::system_files(), dir / "checkpoints", "test", *whole->trainer, content);
  whole->trainer->step(after);
  const auto resumed = run();
  // What the start left must not matter.
  for (const TrainedParameter& p : resumed->trainer->trained()) fill_bytes(p.master, 0x3c);
  load_checkpoint(step_directory(dir / "checkpoints", 1), *resumed->trainer);
  resumed->trainer->step(after);
  expect_same_bits(masters(*resumed), masters(*whole), "adapters");
  expect_same_bits(resumed->second_moments(), whole->second_moments(), "second moments");
  // A checkpoint holds adapters, not the base.
  const hub::SafetensorsFile file(dir / "checkpoints/step_1/trainer/weights.safetensors");
  EXPECT_EQ(file.tensors().size(), 14U * 2);
  EXPECT_TRUE(file.tensors().contains("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"));

  const auto other = run(plain_options(), 2);
  expect_refused([&] { load_checkpoint(step_directory(dir / "checkpoints", 1), *other->trainer); },
                 "another base model");
  TinyRun full(plain_options(), 1);
  expect_refused([&] { load_checkpoint(step_directory(dir / "checkpoints", 1), *full.trainer); },
                 "trained adapters");
}

// The merged export is the model that was trained, and its lora_adapters give back every bit.
TEST_P(Adapters, ExportIsMergedAndItsAdaptersComeBack) {
  for (const bool tied : {true, false}) {
    Rng rng(test::fresh_seed());
    const auto it = run(plain_options(), 3, adapters(), tied);
    for (int step = 0; step < 3; ++step) it->trainer->step(random_rows(rng, 2));
    const test::TemporaryDirectory dir;
    model::save_model(it->trainer->model(), it->trainer->weights(), dir / "model", DType::kF32, "",
                      std::size_t{5} << 30, true);
    TinyRun merged(plain_options(), 9, 1, tied);
    model::load_weights(merged.config, dir / "model", merged.weights);
    merged.trainer->repack();
    data::MicroBatch row = joined(random_rows(rng, 3));
    const std::vector<float> a = it->trainer->logprobs(row), b = merged.trainer->logprobs(row);
    for (std::size_t t = 0; t < a.size(); ++t) {
      EXPECT_NEAR(a[t], b[t], (on_gpu() ? 0.1 : 2e-5) * (1 + std::abs(b[t]))) << t;
    }

    const auto again = run(plain_options(), 4, adapters(), tied);
    model::load_adapter(again->config, dir / "model/lora_adapters", again->masters.adapters);
    expect_same_bits(masters(*again), masters(*it), "adapters that were read back");
    model::AdapterConfig stored = model::read_adapter_config(dir / "model/lora_adapters");
    EXPECT_EQ(stored.rank, 8);
    EXPECT_EQ(stored.alpha, 16);
    EXPECT_EQ(stored.base, "tiny");
  }
}

TEST_P(Adapters, DropoutIsRepeatableAndOffOutsideOfTraining) {
  const std::uint64_t seed = test::fresh_seed();
  model::AdapterConfig config = adapters();
  config.dropout = 0.5;
  std::vector<float> first;
  double loss = 0, plain = 0;
  for (const auto policy : {model::Recompute::kNone, model::Recompute::kNone, model::Recompute::kFull}) {
    Rng rng(seed);
    TrainerOptions options = plain_options();
    options.recompute = policy;
    options.seed = 5;
    const auto it = run(options, 1, config);
    const auto rows = random_rows(rng, 2);
    plain = it->trainer->evaluate(rows);
    EXPECT_EQ(it->trainer->evaluate(rows), plain);
    loss = it->trainer->step(rows).loss;
    it->trainer->step(rows);
    if (first.empty()) first = masters(*it);
    expect_same_bits(masters(*it), first, "adapters trained with dropout");
  }
  EXPECT_NE(loss, plain);
  Rng rng(seed);
  TrainerOptions options = plain_options();
  options.seed = 6;
  const auto other = run(options, 1, config);
  EXPECT_NE(other->trainer->step(random_rows(rng, 2)).loss, loss);
}

INSTANTIATE_TEST_SUITE_P(Trainer, Adapters, ::testing::ValuesIn(devices()), name_of_device);

}  // namespace
}  // namespace rlcpp::train
