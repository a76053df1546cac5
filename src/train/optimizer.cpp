#include "train/optimizer.h"

#include <algorithm>

#include "base/error.h"
#include "model/adapters.h"
#include "ops/cast.h"
#include "ops/optimizer.h"
#include "tensor/copy.h"
#include "train/trainer.h"

namespace rlcpp::train {

bool is_matrix_of_layer(const model::ParameterInfo& parameter) {
  return parameter.shape.size() == 2 && parameter.name.starts_with("layers.");
}

MomentUse moments_of(const OptimConfig& config, const model::ParameterInfo& parameter) {
  if (config.type == "sign_sgd") return {};
  if (config.type == "sgd") return {config.momentum > 0, false};
  if (config.type == "muon" && is_matrix_of_layer(parameter)) return {true, false};
  return {true, true};
}

MomentUse moments_of(const OptimConfig& config) {
  if (config.type == "sign_sgd") return {};
  if (config.type == "sgd") return {config.momentum > 0, false};
  return {true, true};
}

DType moment_type(const ops::Context& ctx, const OptimConfig& config) {
  if (config.moments != "bfloat16") return DType::kF32;
  if (ctx.on_gpu()) return DType::kBF16;
  throw bad_input("optim.moments = \"bfloat16\" needs a GPU", "moments are f32 on the CPU",
                  "set optim.moments to float32");
}

model::WeightRegions plan_moments(const model::ModelConfig& model, const OptimConfig& config,
                                  bool MomentUse::*which, MemoryPlan& plan, MemoryUse use, const char* prefix,
                                  DType type) {
  model::WeightRegions out;
  for (const model::ParameterInfo& info : model::parameter_list(model)) {
    out.regions.push_back(
        moments_of(config, info).*which
            ? plan.add(use, prefix + info.name, type, std::span<const std::int64_t>(info.shape))
            : RegionId{});
  }
  return out;
}

void zero_moments(const ops::Context& ctx, const std::vector<TrainedParameter>& trained) {
  std::vector<Tensor> elsewhere;
  for (const TrainedParameter& parameter : trained) {
    for (const Tensor& moment : {parameter.first, parameter.second}) {
      if (moment.empty()) continue;
      if (moment.device() == ctx.device) {
        ops::zero(ctx, moment);
      } else {
        elsewhere.push_back(moment);
      }
    }
  }
  ctx.pool->parallel_for(static_cast<std::int64_t>(elsewhere.size()),
                         [&](std::int64_t i) { fill_bytes(elsewhere[static_cast<std::size_t>(i)], 0); });
}

std::vector<model::ParameterInfo> trained_parameters(const model::ModelConfig& model) {
  return model.adapters.any() ? model::adapter_list(model) : model::parameter_list(model);
}

Run run_of(const TrainedParameter& p) {
  return {p.master, p.working, p.gradient, p.first, p.second, p.decay, p.index, p.first_element};
}

void update(const ops::Context& ctx, const OptimConfig& config, const UpdateStep& step, const Run& run) {
  // Rounded to float where the reference's tensors are.
  const double lr = static_cast<float>(step.lr);
  const double decay = run.decay ? static_cast<float>(config.weight_decay) : 0.0F;
  if (config.type == "sgd") {
    const ops::SgdStep sgd{lr, config.momentum, config.nesterov, decay, step.gradient_scale};
    ops::sgd(ctx, run.master, run.first, run.gradient, sgd, run.working);
    return;
  }
  if (config.type == "sign_sgd") {
    ops::sign_sgd(ctx, run.master, run.gradient, {lr, decay}, run.working);
    return;
  }
  ops::AdamWStep adamw;
  adamw.lr = lr;
  adamw.beta1 = static_cast<float>(config.betas1);
  adamw.beta2 = static_cast<float>(config.betas2);
  adamw.eps = static_cast<float>(config.eps);
  adamw.weight_decay = decay;
  adamw.step = step.update;
  adamw.gradient_scale = step.gradient_scale;
  adamw.rounding_seed = static_cast<std::uint64_t>(run.index);
  adamw.first_element = run.first_element;
  ops::adamw(ctx, run.master, run.first, run.second, run.gradient, adamw, run.working);
}

}  // namespace rlcpp::train
