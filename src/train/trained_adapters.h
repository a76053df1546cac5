// Training adapters instead of the model: their gradients and moments, and nothing of the frozen base.
#pragma once

#include <vector>

#include "dist/communicator.h"
#include "model/adapters.h"
#include "train/optimizer.h"
#include "train/trained.h"

namespace rlcpp::train {

struct AdapterTrainingRegions {
  RegionId all_gradients;               // one behind the other: what ranks sum at once
  std::vector<RegionId> gradients;      // in the order of model::adapter_list
  std::vector<RegionId> expanded;       // of each B: what the backward adds to
  std::vector<RegionId> first, second;  // moments, where the optimizer has them
};
AdapterTrainingRegions plan_adapter_training(const model::ModelConfig& config, MemoryPlan& plan,
                                             const OptimConfig& optim, DType moments, int ranks = 1);

struct AdapterTraining {
  std::vector<TrainedParameter> trained;
  std::vector<model::LayerAdapters> gradients;  // for the decoder's backward: of A, and of B expanded
  std::vector<Tensor> accumulated;              // the same as a list, to be zeroed
  Tensor all;                                   // gradients of `trained`, one behind the other
};
// Its parameters have no working copies: model::publish_adapters() makes what the decoder reads.
AdapterTraining make_adapter_training(const model::ModelConfig& config, const Arena& arena,
                                      const AdapterTrainingRegions& regions,
                                      const std::vector<model::LayerAdapters>& masters);

// After the last backward of a step: the gradient of each B from its expanded form.
void collect_adapter_gradients(const ops::Context& ctx, const model::ModelConfig& config,
                               const AdapterTraining& training);

// Then, with several ranks: the sum of all of them on each, the same bits everywhere. Every rank holds all
// adapters, whatever the level of ZeRO: they are small.
void sum_adapter_gradients(const ops::Context& ctx, const AdapterTraining& training,
                           dist::Communicator& communicator);

}  // namespace rlcpp::train
