// What the optimizer trains, one entry a stored parameter. Everything that loops over trained parameters
// (zeroing, norm, update, checkpoints) loops over this list, and so does not ask whether it is a whole model.
#pragma once

#include <string>
#include <vector>

#include "model/weights.h"

namespace rlcpp::train {

// Views into the arena, all of one shape. What is frozen has no entry, and hence neither gradient nor
// moments.
struct TrainedParameter {
  std::string name;                    // "layers.0.qkv"
  std::vector<model::HfSlice> slices;  // tensors of files: rows of each of the tensors below
  bool decay = true;                   // weight decay applies
  std::size_t index = 0;               // of the stored parameter in its list
  // With several ranks an entry is a run of elements that begins here, flat (train/shards.h); its slices are
  // those of the whole parameter.
  std::int64_t first_element = 0;
  Tensor master;         // f32, what the optimizer changes
  Tensor working;        // its copy in the type that operations read; empty where they read the master
  Tensor gradient;       // f32, of the step
  Tensor first, second;  // moments: f32 or bf16
};

// Every parameter of the model. `weights` are what the decoder reads, `masters` the same in f32 (equal to
// `weights` where it reads f32); all sets have the layout of `config`.
std::vector<TrainedParameter> whole_model(const model::ModelConfig& config, const model::WeightSet& weights,
                                          const model::WeightSet& masters, const model::WeightSet& gradients,
                                          const model::WeightSet& first, const model::WeightSet& second);

// One member of all of them, for operations that take a list: tensors_of(list, &TrainedParameter::gradient).
std::vector<Tensor> tensors_of(const std::vector<TrainedParameter>& list, Tensor TrainedParameter::*member);

}  // namespace rlcpp::train
