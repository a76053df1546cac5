// A tiny model with its trainer in a poisoned arena, and random rows.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "data/batch.h"
#include "support.h"
#include "tensor/copy.h"
#include "train/trainer.h"

namespace rlcpp::train {

inline model::ModelConfig tiny_config(bool tied = true, std::int64_t layers = 2) {
  model::ModelConfig c;
  c.family = model::Family::kQwen3;
  c.vocab_size = 37;
  c.hidden_size = 24;
  c.intermediate_size = 40;
  c.num_layers = layers;
  c.num_heads = 3;
  c.num_kv_heads = 1;
  c.head_dim = 8;
  c.max_position = 64;
  c.tied = tied;
  c.qk_norm = true;
  c.initializer_range = 0.2;
  return c;
}

// The same in sizes that products in FP8 can have.
inline model::ModelConfig tiny_fp8_config(bool tied = true, std::int64_t layers = 2) {
  model::ModelConfig c = tiny_config(tied, layers);
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.num_heads = 2;
  c.head_dim = 16;
  return c;
}

// Random A and B, so that B is not zero.
inline void fill_adapters(const model::ModelConfig& config, const std::vector<model::LayerAdapters>& masters,
                          std::uint64_t seed) {
  Rng rng(seed, 99);
  for (const Tensor& t : model::flat_adapters(config, masters)) {
    std::vector<float> values(static_cast<std::size_t>(t.size()));
    for (float& value : values) value = 0.2F * rng.normal();
    from_floats(t, values);
  }
}

struct TinyRun {
  explicit TinyRun(const TrainerOptions& trainer_options, std::uint64_t seed, int threads = 1,
                   bool tied = true, Device device = {}, std::int64_t layers = 2,
                   const model::AdapterConfig& adapters = {}, ops::CallLog* calls = nullptr,
                   bool sixteens = false)
      : config(sixteens ? tiny_fp8_config(tied, layers) : tiny_config(tied, layers)),
        options(trainer_options),
        pool(threads),
        ctx(ops::make_context(device, pool)) {
    if (options.max_tokens == 0) options.max_tokens = 96;
    ctx.calls = calls;
    config.adapters = adapters;
    MemoryPlan plan;
    const auto weight_regions =
        model::plan_weights(config, plan, MemoryUse::kWeights, "w.", ctx.compute_type());
    const bool separate = ctx.compute_type() != DType::kF32 && !adapters.any();
    model::WeightRegions master_regions;
    if (separate) {
      master_regions = model::plan_weights(
          config, plan, options.optimizer_on_host ? MemoryUse::kHostOptimizer : MemoryUse::kOptimizer,
          "master.", DType::kF32);
    }
    const auto packed_regions = model::plan_packed(config, ctx, plan);
    const auto rope_regions = model::plan_rope(config, plan, 64);
    const auto adapter_regions = model::plan_adapters(config, ctx, plan);
    const auto regions = Trainer::plan(ctx, config, options, plan);
    planned_bytes = plan.total_bytes();
    host_bytes = plan.host_bytes();
    arena = std::make_unique<Arena>(plan, device);
    arena->poison_all();
    model::WeightSet read = model::make_weight_set(config, *arena, weight_regions);
    if (separate) masters = model::make_weight_set(config, *arena, master_regions);
    weights = separate ? masters : read;
    model::init_random(config, weights, seed);
    if (adapters.any()) {
      masters = read;
      masters.adapters = model::make_adapter_masters(config, *arena, adapter_regions);
      read.adapters = model::make_adapters(config, *arena, adapter_regions);
      fill_adapters(config, masters.adapters, seed);
    }
    trainer = std::make_unique<Trainer>(ctx, config, options, *arena, regions, read,
                                        model::make_packed_set(config, *arena, packed_regions),
                                        model::make_rope(config, *arena, rope_regions), masters);
  }

  std::vector<float> all_weights() const { return copy(trainer->weights()); }
  static std::vector<float> copy(const model::WeightSet& set) {
    std::vector<float> out;
    for (const Tensor& t : set.flat) {
      const std::vector<float> values = to_floats(t);
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  }

  std::vector<float> gradients() const { return trained(&TrainedParameter::gradient); }
  std::vector<float> first_moments() const { return trained(&TrainedParameter::first); }
  std::vector<float> second_moments() const { return trained(&TrainedParameter::second); }
  std::vector<float> trained(Tensor TrainedParameter::*member) const {
    std::vector<float> out;
    for (const Tensor& t : tensors_of(trainer->trained(), member)) {
      const std::vector<float> values = to_floats(t);
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  }

  model::ModelConfig config;
  TrainerOptions options;
  ThreadPool pool;
  ops::Context ctx;
  std::size_t planned_bytes = 0, host_bytes = 0;
  std::unique_ptr<Arena> arena;
  model::WeightSet weights;  // f32: what the optimizer changes; with adapters the frozen base
  model::WeightSet masters;  // the same on a GPU, else empty; with adapters the base and their masters
  std::unique_ptr<Trainer> trainer;
};

// The CPU and, where there is one, the first GPU; for suites named Suite.Test/Cpu and Suite.Test/Cuda.
inline std::vector<Device> devices() {
  std::vector<Device> all = {Device{}};
  std::string why;
  if (!cuda::gpus(&why).empty()) all.push_back({DeviceKind::kCuda, 0});
  return all;
}

inline std::string name_of_device(const ::testing::TestParamInfo<Device>& info) {
  return info.param.kind == DeviceKind::kCpu ? "Cpu" : "Cuda";
}

inline data::Sample random_sample(Rng& rng, std::size_t length, bool rl, double trained = 0.6) {
  data::Sample s;
  for (std::size_t t = 0; t < length; ++t) {
    s.ids.push_back(static_cast<std::int32_t>(rng.below(37)));
    s.mask.push_back(t > 0 && rng.uniform() < trained ? 1 : 0);
  }
  if (length > 1) s.mask[1] = 1;
  if (rl) {
    for (std::size_t t = 0; t < length; ++t) {
      s.inference_logprobs.push_back(s.mask[t] != 0 ? -3.0F + 0.3F * rng.normal() : 0.0F);
      s.advantages.push_back(s.mask[t] != 0 ? rng.normal() : 0.0F);
    }
  }
  return s;
}

// Rows of a few documents, lengths 2 to 14.
inline std::vector<data::MicroBatch> random_rows(Rng& rng, int rows, bool rl = false) {
  std::vector<data::MicroBatch> out;
  for (int r = 0; r < rows; ++r) {
    data::MicroBatch row;
    const auto documents = 1 + rng.below(3);
    for (std::uint64_t d = 0; d < documents; ++d) row.append(random_sample(rng, 2 + rng.below(7), rl));
    out.push_back(std::move(row));
  }
  return out;
}

// The documents of several rows in one.
inline data::MicroBatch joined(const std::vector<data::MicroBatch>& rows) {
  data::MicroBatch out;
  for (const data::MicroBatch& row : rows) {
    for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d) {
      const auto b = row.cu_seqlens[d], e = row.cu_seqlens[d + 1];
      const auto part = [&](const auto& v) {
        return v.empty() ? v : std::remove_cvref_t<decltype(v)>(v.begin() + b, v.begin() + e);
      };
      data::Sample s;
      s.ids = part(row.ids);
      s.mask = part(row.mask);
      s.inference_logprobs = part(row.inference_logprobs);
      s.advantages = part(row.advantages);
      s.teacher_logprobs = part(row.teacher_logprobs);
      out.append(s);
    }
  }
  return out;
}

inline TrainerOptions plain_options() {
  TrainerOptions o;
  o.optim.lr = 1e-2;
  o.optim.max_norm = 1.0;
  o.loss.type = "default";
  return o;
}

}  // namespace rlcpp::train
