// The tiny model of run.h trained by several ranks, each a thread with a device's memory of its own.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dist/world.h"
#include "train/checkpoint.h"
#include "train/run.h"

namespace rlcpp::train {

// One rank: the counterpart of TinyRun.
struct TinyRank {
  TinyRank(const TrainerOptions& trainer_options, std::uint64_t seed, dist::Communicator& communicator,
           bool tied, std::int64_t layers, const model::AdapterConfig& adapters = {})
      : config(tiny_config(tied, layers)),
        options(trainer_options),
        pool(1),
        ctx(ops::make_context(communicator.device(), pool)) {
    if (options.max_tokens == 0) options.max_tokens = 96;
    options.sharding.ranks = communicator.size();
    options.sharding.rank = communicator.rank();
    config.adapters = adapters;
    const bool sharded = !adapters.any();
    MemoryPlan plan;
    ShardedWeightRegions sharded_regions;
    model::WeightRegions whole_regions, packed_regions;
    if (sharded) {
      sharded_regions = plan_sharded_weights(ctx, config, options.sharding, plan,
                                             options.optimizer_on_host && ctx.on_gpu());
    } else {
      whole_regions = model::plan_weights(config, plan, MemoryUse::kWeights, "w.", ctx.compute_type());
      packed_regions = model::plan_packed(config, ctx, plan);
    }
    const auto adapter_regions = model::plan_adapters(config, ctx, plan);
    const auto rope_regions = model::plan_rope(config, plan, 64);
    const auto regions = Trainer::plan(ctx, config, options, plan);
    planned_bytes = plan.total_bytes();
    arena = std::make_unique<Arena>(plan, ctx.device);
    arena->poison_all();

    MemoryPlan host_plan;
    const auto host_regions = model::plan_weights(config, host_plan, MemoryUse::kWeights, "w.", DType::kF32);
    const Arena host(host_plan, Device{});
    const model::WeightSet whole = model::make_weight_set(config, host, host_regions);
    model::init_random(config, whole, seed);
    Peers peers;
    peers.communicator = &communicator;
    model::WeightSet read, packed, masters;
    if (sharded) {
      peers.sharded = make_sharded_weights(config, *arena, sharded_regions);
      // Both ways give the same bits; tests compare with a run that was initialised whole.
      if (seed % 2 == 0) {
        fill_masters(peers.sharded, whole);
      } else {
        init_masters(peers.sharded, config, seed, &pool);
      }
    } else {
      read = model::make_weight_set(config, *arena, whole_regions);
      model::init_random(config, read, seed);
      packed = model::make_packed_set(config, *arena, packed_regions);
      masters = read;
      masters.adapters = model::make_adapter_masters(config, *arena, adapter_regions);
      read.adapters = model::make_adapters(config, *arena, adapter_regions);
      fill_adapters(config, masters.adapters, seed);
    }
    trainer = std::make_unique<Trainer>(ctx, config, options, *arena, regions, read, packed,
                                        model::make_rope(config, *arena, rope_regions), masters, peers);
  }

  // Puts this rank's pieces of every trained parameter in their places of `whole`, a vector a parameter.
  void collect(Tensor TrainedParameter::*member, std::vector<std::vector<float>>& whole) const {
    for (const TrainedParameter& p : trainer->trained()) {
      if ((p.*member).empty()) continue;
      const std::vector<float> values = to_floats(p.*member);
      whole.resize(std::max(whole.size(), p.index + 1));
      std::vector<float>& parameter = whole[p.index];
      const auto at = static_cast<std::size_t>(p.first_element);
      parameter.resize(std::max(parameter.size(), at + values.size()));
      std::copy(values.begin(), values.end(), parameter.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

  model::ModelConfig config;
  TrainerOptions options;
  ThreadPool pool;
  ops::Context ctx;
  std::size_t planned_bytes = 0;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<Trainer> trainer;
};

inline std::vector<float> flat(const std::vector<std::vector<float>>& parameters) {
  std::vector<float> out;
  for (const std::vector<float>& p : parameters) out.insert(out.end(), p.begin(), p.end());
  return out;
}

// Ranks that stay, each on a thread of its own while `each` runs.
class Several {
 public:
  Several(const dist::WorldOptions& options, const TrainerOptions& trainer, std::uint64_t seed, bool tied,
          std::int64_t layers)
      : world_(options) {
    communicators_.resize(static_cast<std::size_t>(world_.local_ranks()));
    ranks_.resize(communicators_.size());
    on_all([&](std::size_t i) {
      communicators_[i] = world_.join(static_cast<int>(i));
      ranks_[i] = std::make_unique<TinyRank>(trainer, seed, *communicators_[i], tied, layers);
    });
  }
  ~Several() {
    on_all([&](std::size_t i) {
      ranks_[i].reset();
      communicators_[i].reset();
    });
  }
  Several(const Several&) = delete;
  Several& operator=(const Several&) = delete;

  void each(const std::function<void(TinyRank&)>& body) {
    on_all([&](std::size_t i) { body(*ranks_[i]); });
  }
  TrainerGroup group() {
    std::vector<Trainer*> trainers;
    for (const auto& rank : ranks_) trainers.push_back(rank->trainer.get());
    return {trainers, [this](const std::function<void(Trainer&)>& body) {
              each([&](TinyRank& rank) { body(*rank.trainer); });
            }};
  }
  std::vector<float> collected(Tensor TrainedParameter::*member) const {
    std::vector<std::vector<float>> whole;
    for (const auto& rank : ranks_) {
      rank->trainer->synchronize();
      rank->collect(member, whole);
    }
    return flat(whole);
  }

 private:
  void on_all(const std::function<void(std::size_t)>& body) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      threads.emplace_back([&, i] {
        if (ranks_[i] != nullptr) use(*ranks_[i]);
        body(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  // A new thread has the first GPU until something of another is asked for.
  static void use(const TinyRank& rank) { peak_memory_bytes(rank.ctx.device); }

  dist::World world_;
  std::vector<std::unique_ptr<dist::Communicator>> communicators_;
  std::vector<std::unique_ptr<TinyRank>> ranks_;
};

// What a run of several ranks ends with: parameters in their order, whole.
struct RanksResult {
  std::vector<StepResult> steps;  // of rank 0; the other ranks' are compared with it
  std::vector<float> weights, gradients, first, second;
  std::vector<double> evaluated;
  std::size_t planned_bytes = 0;
};

}  // namespace rlcpp::train
