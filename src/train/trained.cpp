#include "train/trained.h"

#include "base/error.h"

namespace rlcpp::train {

std::vector<TrainedParameter> whole_model(const model::ModelConfig& config, const model::WeightSet& weights,
                                          const model::WeightSet& masters, const model::WeightSet& gradients,
                                          const model::WeightSet& first, const model::WeightSet& second) {
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  for (const model::WeightSet* set : {&weights, &masters, &gradients, &first, &second}) {
    RLCPP_CHECK(set->flat.size() == parameters.size());
  }
  std::vector<TrainedParameter> list;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    TrainedParameter& p = list.emplace_back();
    p.name = parameters[i].name;
    p.slices = parameters[i].slices;
    p.decay = parameters[i].decay;
    p.index = i;
    p.master = masters.flat[i];
    if (weights.flat[i].raw() != masters.flat[i].raw()) p.working = weights.flat[i];
    p.gradient = gradients.flat[i];
    p.first = first.flat[i];
    p.second = second.flat[i];
  }
  return list;
}

std::vector<Tensor> tensors_of(const std::vector<TrainedParameter>& list, Tensor TrainedParameter::*member) {
  std::vector<Tensor> tensors;
  tensors.reserve(list.size());
  for (const TrainedParameter& parameter : list) tensors.push_back(parameter.*member);
  return tensors;
}

}  // namespace rlcpp::train
