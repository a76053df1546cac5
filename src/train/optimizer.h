// The kinds of optimizer, behind two questions: which moments a parameter has, and what an update does to a
// run of its elements.
#pragma once

#include <cstdint>
#include <string>

#include "model/weights.h"
#include "ops/context.h"
#include "tensor/arena.h"
#include "train/trained.h"

namespace rlcpp::train {

struct OptimConfig;

// Which moments the optimizer keeps of a parameter: adamw both, sgd the momentum unless that is 0, sign_sgd
// none; muon the momentum of a layer's matrices and both of the rest, which it gives to AdamW.
struct MomentUse {
  bool first = false, second = false;
};
MomentUse moments_of(const OptimConfig& config, const model::ParameterInfo& parameter);
// Of a whole run: what at least one parameter has.
MomentUse moments_of(const OptimConfig& config);

// True if muon takes the parameter as matrices: that of a layer's product, or of its adapters (Jordan et al.
// 2024 leave embedding and head to AdamW, as does prime-rl).
bool is_matrix_of_layer(const model::ParameterInfo& parameter);

// f32, or what optim.moments says. Throws bad_input for bf16 on the CPU.
DType moment_type(const ops::Context& ctx, const OptimConfig& config);
// Adds a moment of the parameters of the model that have it.
model::WeightRegions plan_moments(const model::ModelConfig& model, const OptimConfig& config,
                                  bool MomentUse::*which, MemoryPlan& plan, MemoryUse use, const char* prefix,
                                  DType type);

// A fresh optimizer has zero moments whatever the arena was filled with.
void zero_moments(const ops::Context& ctx, const std::vector<TrainedParameter>& trained);

// What is trained, as `trained()` of a trainer has it: adapters, or the whole model.
std::vector<model::ParameterInfo> trained_parameters(const model::ModelConfig& model);

// A run of elements of one parameter, all where operations can reach them; flat, or of any shape.
struct Run {
  Tensor master, working, gradient, first, second;  // as TrainedParameter
  bool decay = true;
  std::size_t index = 0;
  std::int64_t first_element = 0;
};
Run run_of(const TrainedParameter& parameter);

struct UpdateStep {
  double lr = 0;
  float gradient_scale = 1;  // of the clip
  std::int64_t update = 1;   // counted from 1
};

// Element by element, so that parts of a parameter may be updated apart; not for matrices of muon
// (train/muon.h).
void update(const ops::Context& ctx, const OptimConfig& config, const UpdateStep& step, const Run& run);

}  // namespace rlcpp::train
