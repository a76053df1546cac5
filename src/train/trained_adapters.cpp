#include "train/trained_adapters.h"

#include <fmt/format.h>

#include "train/trainer.h"

namespace rlcpp::train {
namespace {

std::int64_t elements(const model::ParameterInfo& info) {
  std::int64_t size = 1;
  for (const std::int64_t extent : info.shape) size *= extent;
  return size;
}

}  // namespace

AdapterTrainingRegions plan_adapter_training(const model::ModelConfig& config, MemoryPlan& plan,
                                             const OptimConfig& optim, DType moments, int ranks) {
  AdapterTrainingRegions r;
  const std::vector<model::ParameterInfo> list = model::adapter_list(config);
  // Where regions of a plan may begin, and a part for each rank.
  constexpr std::int64_t kGranule = 64;
  const auto rounded = [](std::int64_t size, std::int64_t to) { return (size + to - 1) / to * to; };
  std::int64_t total = 0;
  for (const model::ParameterInfo& info : list) total += rounded(elements(info), kGranule);
  r.all_gradients = plan.add(MemoryUse::kGradients, "gradients of adapters", DType::kF32,
                             {rounded(total, kGranule * ranks)});
  std::int64_t at = 0;
  for (const model::ParameterInfo& info : list) {
    const std::span<const std::int64_t> shape(info.shape);
    r.gradients.push_back(plan.alias(r.all_gradients, MemoryUse::kGradients, "gradient." + info.name,
                                     DType::kF32, shape, static_cast<std::size_t>(at) * sizeof(float)));
    at += rounded(elements(info), kGranule);
    const MomentUse use = moments_of(optim, info);
    const auto add = [&](bool wanted, const char* prefix) {
      return wanted ? plan.add(MemoryUse::kOptimizer, prefix + info.name, moments, shape) : RegionId{};
    };
    r.first.push_back(add(use.first, "exp_avg."));
    r.second.push_back(add(use.second, "exp_avg_sq."));
  }
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const model::AdapterShape& shape : model::adapter_shapes(config)) {
      r.expanded.push_back(plan.add(
          MemoryUse::kGradients, fmt::format("gradient.layers.{}.{}.lora_B expanded", layer, shape.name),
          DType::kF32, {shape.out, static_cast<std::int64_t>(shape.blocks.targets) * config.adapters.rank}));
    }
  }
  return r;
}

AdapterTraining make_adapter_training(const model::ModelConfig& config, const Arena& arena,
                                      const AdapterTrainingRegions& regions,
                                      const std::vector<model::LayerAdapters>& masters) {
  const std::vector<model::ParameterInfo> list = model::adapter_list(config);
  const std::vector<Tensor> master = model::flat_adapters(config, masters);
  RLCPP_CHECK(list.size() == master.size());
  AdapterTraining out;
  out.all = arena[regions.all_gradients];
  for (std::size_t i = 0; i < list.size(); ++i) {
    TrainedParameter& p = out.trained.emplace_back();
    p.name = list[i].name;
    p.slices = list[i].slices;
    p.decay = list[i].decay;
    p.index = i;
    p.master = master[i];
    p.gradient = arena[regions.gradients.at(i)];
    if (regions.first.at(i).index >= 0) p.first = arena[regions.first.at(i)];
    if (regions.second.at(i).index >= 0) p.second = arena[regions.second.at(i)];
  }
  const std::vector<model::AdapterShape> shapes = model::adapter_shapes(config);
  std::size_t next = 0;
  out.gradients.resize(masters.size());
  for (model::LayerAdapters& layer : out.gradients) {
    for (const model::AdapterShape& shape : shapes) {
      const model::AdapterPair pair{out.trained.at(2 * next).gradient, arena[regions.expanded.at(next)]};
      layer.*shape.place = pair;
      out.accumulated.push_back(pair.a);
      out.accumulated.push_back(pair.b);
      ++next;
    }
  }
  return out;
}

void collect_adapter_gradients(const ops::Context& ctx, const model::ModelConfig& config,
                               const AdapterTraining& training) {
  const std::vector<model::AdapterShape> shapes = model::adapter_shapes(config);
  std::size_t next = 0;
  for (const model::LayerAdapters& layer : training.gradients) {
    for (const model::AdapterShape& shape : shapes) {
      ops::adapter_collect(ctx, training.trained.at(2 * next + 1).gradient, (layer.*shape.place).b,
                           shape.blocks, config.adapters.scale());
      ++next;
    }
  }
}

void sum_adapter_gradients(const ops::Context& ctx, const AdapterTraining& training,
                           dist::Communicator& communicator) {
  const dist::Stream stream{ops::stream_handle(ctx)};
  const std::int64_t part = training.all.size() / communicator.size();
  const Tensor own = training.all.rows(part * communicator.rank(), part);
  // In two steps: the bits of a sum that one rank makes and the others are given.
  communicator.reduce_scatter(own, training.all, dist::Reduction::kSum, "gradients of adapters", stream)
      .before(stream);
  communicator.all_gather(training.all, own, "gradients of adapters", stream).before(stream);
}

}  // namespace rlcpp::train
