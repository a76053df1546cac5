// Log-probabilities of given tokens, without anything that training needs: no gradients, moments or f32
// masters.
#pragma once

#include <memory>
#include <vector>

#include "data/batch.h"
#include "model/decoder.h"
#include "train/row_buffers.h"
#include "train/scratch.h"

namespace rlcpp::train {

// Owns nothing large: weights and activations are views into the run's arena. The numbers are those of
// Trainer::logprobs with the same weights, bit for bit.
class Scorer {
 public:
  struct Regions {
    model::Activations::Regions activations;
    ScratchRegions scratch;
    RowRegions rows;
  };
  // Activations of one block at a time, the head's chunk and the buffers of rows of up to `max_tokens`
  // tokens. Weights are planned by the caller, in ops::Context::compute_type().
  static Regions plan(const ops::Context& ctx, const model::ModelConfig& model, std::int64_t max_tokens,
                      MemoryPlan& plan);
  Scorer(const ops::Context& ctx, const model::ModelConfig& model, const Arena& arena, const Regions& regions,
         const model::WeightSet& weights, const model::WeightSet& packed, const model::RopeTables& rope);

  // Of each token given those before it in its document [M]; 0 at the first token of a document.
  std::vector<float> logprobs(const data::MicroBatch& batch);

 private:
  ops::Context ctx_;
  model::ModelConfig model_;
  model::WeightSet weights_, packed_;
  model::RopeTables rope_;
  model::Activations activations_;
  Tensor logits_;
  RowBuffers rows_;
};

}  // namespace rlcpp::train
