// Muon: the update of a layer's matrix is its momentum made orthogonal (Jordan et al. 2024). What is a matrix
// is a tensor of files, so q, k and v are three, although they lie in one parameter.
//   m = mu m + g;  O = NewtonSchulz(m / |m|_F);  w = (1 - lr wd) w - lr 0.2 sqrt(max(rows, columns)) O
// The factor keeps the update's root mean square near AdamW's (Liu et al. 2025, "Muon is Scalable for LLM
// Training"), as prime-rl has it (adjust_lr = "rms_norm"). Five iterations X <- (a I + b X X^T + c (X X^T)^2)
// X with a, b, c = 3.4445, -4.7750, 2.0315 (Jordan et al. 2024); products are in the compute type.
#pragma once

#include <memory>
#include <vector>

#include "dist/communicator.h"
#include "tensor/arena.h"
#include "train/optimizer.h"
#include "train/shards.h"

namespace rlcpp::train {

struct MuonRegions {
  RegionId x, y;      // the largest matrix, twice
  RegionId p, q;      // the largest square of a shorter side, twice
  RegionId gathered;  // several ranks: the momentum of a group, whole
};

struct TrainerOptions;

// Throws bad_input if the optimizer's state is to rest in the host's memory.
MuonRegions plan_muon(const ops::Context& ctx, const model::ModelConfig& model, const TrainerOptions& options,
                      MemoryPlan& plan);
// For these parameters; `layout`: of several ranks, else null.
MuonRegions plan_muon(const ops::Context& ctx, const std::vector<model::ParameterInfo>& parameters,
                      const ShardLayout* layout, MemoryPlan& plan);

class Muon {
 public:
  Muon(const ops::Context& ctx, std::vector<model::ParameterInfo> parameters, const Arena& arena,
       const MuonRegions& regions);

  // One parameter that lies here whole. Waits for the device once a matrix, for its norm.
  void update(const OptimConfig& config, const UpdateStep& step, const TrainedParameter& parameter);
  // This rank's pieces. The momentum of each layer is gathered from all ranks; each makes the matrices
  // orthogonal that it holds a part of. Collective.
  void update(const OptimConfig& config, const UpdateStep& step, const Shards& shards,
              dist::Communicator& communicator);

 private:
  // x_ becomes the direction of a momentum; true if it is that of the transpose.
  bool orthogonalise(const Tensor& momentum);
  Tensor x(std::int64_t rows, std::int64_t columns) const;

  ops::Context ctx_;
  std::vector<model::ParameterInfo> parameters_;
  Tensor x_, y_, p_, q_, gathered_;
};

}  // namespace rlcpp::train
