// Adapters of a TestModel: random A and B, so that nothing is zero by its start.
#pragma once

#include "model/adapters.h"
#include "model/harness.h"

namespace rlcpp::model {

// Targets by the letters of "qkvogud".
inline AdapterConfig adapter_config(std::int64_t rank, double alpha, const std::string& targets) {
  AdapterConfig out;
  out.rank = rank;
  out.alpha = alpha;
  for (const char c : targets) out.targets.at(std::string("qkvogud").find(c)) = true;
  return out;
}

inline ModelConfig with_adapters(ModelConfig config, const AdapterConfig& adapters) {
  config.adapters = adapters;
  return config;
}

// Gives a TestModel made with a configuration that has adapters its adapters, in memory of their own.
class AdapterModel {
 public:
  AdapterModel(TestModel& model, std::uint64_t seed, float b_scale = 0.3F) : model_(model) {
    MemoryPlan plan;
    const AdapterRegions regions = plan_adapters(model.config, model.context, plan);
    std::vector<RegionId> gradients;
    for (const AdapterShape& shape : adapter_shapes(model.config)) {
      const std::int64_t width = static_cast<std::int64_t>(shape.blocks.targets) * model.config.adapters.rank;
      for (std::int64_t layer = 0; layer < model.config.num_layers; ++layer) {
        gradients.push_back(plan.add(MemoryUse::kGradients, "a", DType::kF32, {width, shape.in}));
        gradients.push_back(plan.add(MemoryUse::kGradients, "b", DType::kF32, {shape.out, width}));
        gradients.push_back(plan.add(MemoryUse::kGradients, "db", DType::kF32,
                                     {shape.blocks.rows(), model.config.adapters.rank}));
      }
    }
    arena_ = std::make_unique<Arena>(std::move(plan), Device{});
    arena_->poison_all();
    masters = make_adapter_masters(model.config, *arena_, regions);
    model.weights.adapters = make_adapters(model.config, *arena_, regions);
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    for (const Tensor& tensor : flat_adapters(model.config, masters)) {
      const float scale = tensor.dim(1) == model.config.adapters.rank ? b_scale : 0.3F;
      for (float& value : tensor.f32_span()) value = scale * normal(random);
    }
    model.gradients = frozen_gradients(model.config);
    model.gradients.adapters.resize(masters.size());
    collected.resize(masters.size());
    std::size_t next = 0;
    for (const AdapterShape& shape : adapter_shapes(model.config)) {
      for (std::size_t layer = 0; layer < masters.size(); ++layer, next += 3) {
        model.gradients.adapters[layer].*
            shape.place = {(*arena_)[gradients[next]], (*arena_)[gradients[next + 1]]};
        collected[layer].*shape.place = {(*arena_)[gradients[next]], (*arena_)[gradients[next + 2]]};
      }
    }
    publish();
  }

  void publish() { publish_adapters(model_.context, model_.config, model_.weights.adapters, masters); }

  double loss_and_gradients(const Row& row) {
    for (const LayerAdapters& layer : model_.gradients.adapters) {
      for (const AdapterShape& shape : adapter_shapes(model_.config)) {
        for (const Tensor& t : {(layer.*shape.place).a, (layer.*shape.place).b}) {
          std::fill_n(t.f32(), t.size(), 0.0F);
        }
      }
    }
    const double loss = model_.loss_and_gradients(row, true);
    for (std::size_t layer = 0; layer < masters.size(); ++layer) {
      for (const AdapterShape& shape : adapter_shapes(model_.config)) {
        ops::adapter_collect(model_.context, (collected[layer].*shape.place).b,
                             (model_.gradients.adapters[layer].*shape.place).b, shape.blocks,
                             model_.config.adapters.scale());
      }
    }
    return loss;
  }

  std::vector<Tensor> parameters() const { return flat_adapters(model_.config, masters); }
  std::vector<Tensor> gradients() const { return flat_adapters(model_.config, collected); }
  std::vector<float> flat_gradients() const {
    std::vector<float> all;
    for (const Tensor& t : gradients()) all.insert(all.end(), t.f32(), t.f32() + t.size());
    return all;
  }

  std::vector<LayerAdapters> masters, collected;

 private:
  TestModel& model_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace rlcpp::model
