// What a trainer is made of, for the files that implement it.
#pragma once

#include "base/rng.h"
#include "ops/head.h"
#include "train/muon.h"
#include "train/rank_share.h"
#include "train/row_buffers.h"
#include "train/row_loss.h"
#include "train/scratch.h"
#include "train/shards.h"
#include "train/state_stream.h"
#include "train/trained_adapters.h"
#include "train/trainer.h"

namespace rlcpp::train {

struct Trainer::Regions {
  model::WeightRegions gradients, first, second;  // of the whole model, or
  AdapterTrainingRegions adapters;
  model::Activations::Regions activations;
  ScratchRegions scratch;
  RowRegions rows;
  std::optional<StreamRegions> stream;
  ShardRegions shards;  // of one of several ranks, in place of the whole model's
  RegionId staging;     // for what ranks tell each other
  std::optional<MuonRegions> muon;
};

struct Trainer::Impl {
  ops::Context ctx;
  model::ModelConfig model;
  TrainerOptions options;
  model::WeightSet weights, packed, masters, gradients;
  model::RopeTables rope;
  model::Activations activations;
  Tensor logits;
  RowBuffers rows;
  std::vector<TrainedParameter> trained;
  std::vector<Tensor> trained_gradients;
  AdapterTraining adapters;  // of a frozen model
  State state;
  std::unique_ptr<StateStream> on_host;        // null: optimizer state is on the device
  std::uint64_t micro_batch = 0;               // of the step, over all ranks: dropout draws by it
  dist::Communicator* communicator = nullptr;  // null: this is the only rank
  std::unique_ptr<Shards> shards = nullptr;    // null: this rank holds all that it trains
  Tensor staging = {};
  std::unique_ptr<Muon> muon = nullptr;

  ops::HeadInputs head_inputs(const Row& row, const Tensor& hidden, bool kept = false) const {
    return {hidden, weights.head, packed.head, row.targets, row.temperatures, logits, kept};
  }
  // `training`: with dropout, a new draw each micro-batch of each step.
  Tensor forward(const Row& row, bool training = false) {
    activations.dropout = {};
    if (training && model.adapters.dropout > 0) {
      activations.dropout.probability = static_cast<float>(model.adapters.dropout);
      activations.dropout.key = options.seed;
      activations.dropout.stream = mix64(static_cast<std::uint64_t>(state.step), micro_batch);
    }
    return model::forward(ctx, model, weights, packed, rope, row.packed, activations, shards.get());
  }
  void backward(const Row& row) {
    model::backward(ctx, model, weights, packed, rope, row.packed, activations, row.dhidden, gradients,
                    shards.get());
  }
  double cross_entropy(const data::MicroBatch& batch, double scale);
  double policy_gradient(const data::MicroBatch& batch, const Scales& scales, LossMetrics& metrics);
  double train(const RankShare& share, const Scales& scales, LossMetrics& metrics);
  void combine(double& loss, LossMetrics& metrics);
  double gradient_norm() const;
  void update(double norm, double lr);
  // Makes what the decoder reads from the masters that an update changed.
  void publish();
};

}  // namespace rlcpp::train
