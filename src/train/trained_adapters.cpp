#include "train/trained_adapters.h"

#include <fmt/format.h>

namespace rlcpp::train {

AdapterTrainingRegions plan_adapter_training(const model::ModelConfig& config, MemoryPlan& plan,
                                             DType moments) {
  AdapterTrainingRegions r;
  for (const model::ParameterInfo& info : model::adapter_list(config)) {
    const std::span<const std::int64_t> shape(info.shape);
    r.gradients.push_back(plan.add(MemoryUse::kGradients, "gradient." + info.name, DType::kF32, shape));
    r.first.push_back(plan.add(MemoryUse::kOptimizer, "exp_avg." + info.name, moments, shape));
    r.second.push_back(plan.add(MemoryUse::kOptimizer, "exp_avg_sq." + info.name, moments, shape));
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
  for (std::size_t i = 0; i < list.size(); ++i) {
    TrainedParameter& p = out.trained.emplace_back();
    p.name = list[i].name;
    p.slices = list[i].slices;
    p.decay = list[i].decay;
    p.master = master[i];
    p.gradient = arena[regions.gradients.at(i)];
    p.first = arena[regions.first.at(i)];
    p.second = arena[regions.second.at(i)];
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

}  // namespace rlcpp::train
