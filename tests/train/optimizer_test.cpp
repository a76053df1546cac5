// The kinds of optimizer in a trainer: what an update does, what is planned and stored for it, on the device
// and resting in the host's memory, on one rank and on several.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data_path.h"
#include "ops/workspace.h"
#include "train/checkpoint.h"
#include "train/muon.h"
#include "train/ranks.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

TrainerOptions options_of(const std::string& type, double momentum = 0.9) {
  TrainerOptions o = plain_options();
  o.optim.type = type;
  o.optim.momentum = momentum;
  o.optim.weight_decay = 0.1;
  o.optim.max_norm = 0.5;
  return o;
}

class OptimizersOnDevice : public ::testing::TestWithParam<Device> {
 protected:
  static TinyRun run(const TrainerOptions& options, std::uint64_t seed, int threads = 1) {
    return TinyRun(options, seed, threads, true, GetParam());
  }
};

std::vector<std::vector<data::MicroBatch>> steps_of(std::uint64_t seed, int steps) {
  Rng rng(seed, 55);
  std::vector<std::vector<data::MicroBatch>> out;
  for (int i = 0; i < steps; ++i) out.push_back(random_rows(rng, 3));
  return out;
}

// Weights after steps, recomputed in f64 from the gradients that the trainer had.
TEST_P(OptimizersOnDevice, SgdAndSignSgdDoWhatTheirFormulasSay) {
  const auto seed = test::fresh_seed();
  for (const char* type : {"sgd", "sign_sgd"}) {
    const auto options = options_of(type);
    TinyRun one = run(options, seed);
    std::vector<double> w, m;
    for (const float value : one.all_weights()) w.push_back(static_cast<double>(value));
    m.assign(w.size(), 0.0);
    for (const auto& rows : steps_of(seed, 4)) {
      const StepResult result = one.trainer->step(rows);
      const std::vector<float> g = one.gradients();
      ASSERT_EQ(g.size(), w.size());
      const double clip = std::min(1.0, 0.5 / (result.grad_norm + 1e-6)), lr = 1e-2;
      for (std::size_t i = 0; i < w.size(); ++i) {
        const double gradient = static_cast<double>(g[i]) * clip;
        if (std::string(type) == "sgd") {
          const double d = gradient + 0.1 * w[i];
          m[i] = 0.9 * m[i] + d;
          w[i] -= lr * (d + 0.9 * m[i]);
        } else {
          w[i] -= lr * 0.1 * w[i] + lr * (g[i] > 0 ? 1 : g[i] < 0 ? -1 : 0);
        }
      }
    }
    const std::vector<float> got = one.all_weights();
    for (std::size_t i = 0; i < w.size(); ++i)
      ASSERT_NEAR(got[i], w[i], 1e-5 * (1 + std::abs(w[i]))) << type << i;
  }
}

TEST(Optimizers, MomentsAreOnlyThoseThatAreKept) {
  const TinyRun adamw(options_of("adamw"), 1), sgd(options_of("sgd"), 1), plain(options_of("sgd", 0), 1),
      sign(options_of("sign_sgd"), 1);
  const std::size_t one = 4 * static_cast<std::size_t>(adamw.config.parameters());
  const auto saved = [&](const TinyRun& run) { return adamw.planned_bytes - run.planned_bytes; };
  const std::size_t granules = 256 * model::parameter_list(adamw.config).size();
  EXPECT_NEAR(static_cast<double>(saved(sgd)), static_cast<double>(one), static_cast<double>(granules));
  EXPECT_NEAR(static_cast<double>(saved(sign)), static_cast<double>(2 * one),
              static_cast<double>(2 * granules));
  EXPECT_EQ(saved(plain), saved(sign));
  EXPECT_TRUE(sign.first_moments().empty());
  EXPECT_TRUE(sgd.second_moments().empty());
}

TEST_P(OptimizersOnDevice, ResumeIsBitEqualAndAnotherOptimizerIsRefused) {
  const auto seed = test::fresh_seed();
  const auto steps = steps_of(seed, 4);
  for (const char* type : {"sgd", "sign_sgd"}) {
    const test::TemporaryDirectory dir;
    TinyRun whole = run(options_of(type), seed);
    for (int i = 0; i < 4; ++i) {
      whole.trainer->step(steps[static_cast<std::size_t>(i)]);
      CheckpointContent content;
      content.progress.step = i + 1;
      content.extra = "{}";
      save_checkpoint(durable::system_files(), dir.path(), "run", *whole.trainer, content);
    }
    EXPECT_FALSE(std::filesystem::exists(dir / "step_1/trainer/exp_avg_sq.safetensors"));
    EXPECT_EQ(std::filesystem::exists(dir / "step_1/trainer/exp_avg.safetensors"),
              std::string(type) == "sgd");
    TinyRun resumed = run(options_of(type), seed + 1);
    load_checkpoint(dir / "step_2", *resumed.trainer);
    for (int i = 2; i < 4; ++i) resumed.trainer->step(steps[static_cast<std::size_t>(i)]);
    EXPECT_EQ(resumed.all_weights(), whole.all_weights());
    TinyRun other = run(options_of("adamw"), seed);
    try {
      load_checkpoint(dir / "step_2", *other.trainer);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("is of a run with optim.type = \"" + std::string(type)),
                std::string::npos);
    }
  }
}

TEST_P(OptimizersOnDevice, StateOnTheHostGivesTheSameBits) {
  const auto seed = test::fresh_seed();
  for (const char* type : {"sgd", "sign_sgd"}) {
    auto options = options_of(type);
    TinyRun device = run(options, seed);
    options.optimizer_on_host = true;
    options.optimizer_chunk = 128;
    TinyRun host = run(options, seed);
    for (const auto& rows : steps_of(seed, 3)) {
      device.trainer->step(rows);
      host.trainer->step(rows);
    }
    host.trainer->synchronize();
    EXPECT_EQ(host.all_weights(), device.all_weights()) << type;
    EXPECT_EQ(host.first_moments(), device.first_moments()) << type;
  }
}

// One parameter of two matrices (tools/oracle_muon.py); on a GPU products are of bf16.
void expect_golden_muon(Device device) {
  std::ifstream file(test::data_path("train/muon.json"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["cases"].size(), 5U);
  ThreadPool pool(2);
  const ops::Context ctx = ops::make_context(device, pool);
  for (const auto& c : golden["cases"]) {
    const auto rows = c["rows"].get<std::vector<std::int64_t>>();
    const std::int64_t columns = c["columns"], all = rows[0] + rows[1];
    model::ParameterInfo info;
    info.name = "layers.0.two";
    info.shape = {all, columns};
    info.slices = {{"first", {rows[0], columns}, 0}, {"second", {rows[1], columns}, rows[0]}};
    MemoryPlan plan;
    const MuonRegions regions = plan_muon(ctx, {info}, nullptr, plan);
    const std::span<const std::int64_t> shape(info.shape);
    const auto add = [&](const char* name, DType type) {
      return plan.add(MemoryUse::kOptimizer, name, type, shape);
    };
    const RegionId w = add("w", DType::kF32), m = add("m", DType::kF32), g = add("g", DType::kF32);
    RegionId working;
    if (ctx.compute_type() != DType::kF32) working = add("working", ctx.compute_type());
    RegionId workspace;
    const model::ModelConfig tiny = tiny_config();
    const ops::WorkspaceNeeds needs{1, 1, tiny.hidden_size, tiny.vocab_size, tiny.qkv()};
    if (const std::size_t bytes = ops::workspace_bytes(ctx, needs); bytes != 0) {
      workspace =
          plan.add(MemoryUse::kWorkspace, "workspace", DType::kU8, {static_cast<std::int64_t>(bytes)});
    }
    const Arena arena(plan, device);
    arena.poison_all();
    if (workspace.index >= 0) ops::use_workspace(ctx, arena[workspace]);
    TrainedParameter p;
    p.name = info.name;
    p.slices = info.slices;
    p.master = arena[w];
    p.first = arena[m];
    p.gradient = arena[g];
    if (working.index >= 0) p.working = arena[working];
    from_floats(p.master, c["start"].get<std::vector<float>>());
    from_floats(p.first, std::vector<float>(static_cast<std::size_t>(all * columns), 0.0F));
    Muon muon(ctx, {info}, arena, regions);
    OptimConfig config;
    config.type = "muon";
    config.mu = c["mu"];
    config.weight_decay = c["weight_decay"];
    for (std::size_t t = 0; t < c["gradients"].size(); ++t) {
      from_floats(p.gradient, c["gradients"][t].get<std::vector<float>>());
      muon.update(config, {c["lr"], c["gradient_scale"], static_cast<std::int64_t>(t + 1)}, p);
      ops::synchronize(ctx);
      const std::vector<float> got = to_floats(p.master);
      const auto expected = c["weights"][t].get<std::vector<double>>();
      // A direction's entries are below 1.3; a step multiplies them by lr * 0.2 * sqrt(side) < 0.03. Products
      // of bf16 leave a hundredth or two of a direction.
      const double bound =
          (device.kind == DeviceKind::kCpu ? 1e-5 : 3e-2) * 0.04 * static_cast<double>(t + 1) + 1e-6;
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], bound) << i << " of step " << t;
      if (working.index >= 0) {
        const std::vector<float> read = to_floats(p.working);
        for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(read[i], bf16_to_f32(f32_to_bf16(got[i])));
      }
    }
  }
}

TEST(Optimizers, MuonIsItsOracle) {
  expect_golden_muon({});
}

TEST(Optimizers, MuonIsItsOracleOnAGpu) {
  std::string why;
  if (cuda::gpus(&why).empty()) GTEST_SKIP() << why;
  expect_golden_muon({DeviceKind::kCuda, 0});
}

INSTANTIATE_TEST_SUITE_P(, OptimizersOnDevice, ::testing::ValuesIn(devices()), name_of_device);

TEST_P(OptimizersOnDevice, MuonTrainsAndKeepsTheSecondMomentOfTheRestAlone) {
  const auto seed = test::fresh_seed();
  auto options = options_of("muon");
  options.optim.lr = 0.05;
  TinyRun one = run(options, seed);
  const auto rows = steps_of(seed, 1)[0];
  const double before = one.trainer->evaluate(rows);
  for (int i = 0; i < 10; ++i) one.trainer->step(rows);
  EXPECT_LT(one.trainer->evaluate(rows), 0.8 * before);
  for (const TrainedParameter& p : one.trainer->trained()) {
    const bool matrix = p.name.starts_with("layers.") && p.master.rank() == 2;
    EXPECT_EQ(p.second.empty(), matrix) << p.name;
    EXPECT_FALSE(p.first.empty());
  }
}

TEST_P(OptimizersOnDevice, MuonResumesBitEqually) {
  const auto seed = test::fresh_seed();
  const auto steps = steps_of(seed, 4);
  const test::TemporaryDirectory dir;
  TinyRun whole = run(options_of("muon"), seed);
  for (int i = 0; i < 4; ++i) {
    whole.trainer->step(steps[static_cast<std::size_t>(i)]);
    CheckpointContent content;
    content.progress.step = i + 1;
    content.extra = "{}";
    save_checkpoint(durable::system_files(), dir.path(), "run", *whole.trainer, content);
  }
  TinyRun resumed = run(options_of("muon"), seed + 1, 2);
  load_checkpoint(dir / "step_2", *resumed.trainer);
  for (int i = 2; i < 4; ++i) resumed.trainer->step(steps[static_cast<std::size_t>(i)]);
  EXPECT_EQ(resumed.all_weights(), whole.all_weights());
  EXPECT_EQ(resumed.second_moments(), whole.second_moments());
}

TEST(Optimizers, MuonOfOffloadedStateIsRefused) {
  auto options = options_of("muon");
  options.optimizer_on_host = true;
  EXPECT_THROW(TinyRun(options, 1), Error);
}

TEST(Optimizers, ContradictionsAreRefused) {
  OptimConfig config;
  config.type = "sgd";
  config.moments = "bfloat16";
  EXPECT_THROW(config.validate(), Error);
  config = {};
  config.momentum = 0.5;
  EXPECT_THROW(config.validate(), Error);
  config.type = "sgd";
  EXPECT_NO_THROW(config.validate());
}

}  // namespace
}  // namespace rlcpp::train
