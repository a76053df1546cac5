// One rank's part in a step of several: gradients are summed into shards while the backward goes on, the
// optimizer changes this rank's shards, and weights are gathered from all of them (ZeRO; train/shard_layout.h
// has the levels).
//
// When gradients are reduced: at level 1 once a step, each layer behind its last backward; at levels 2 and 3
// after every micro-batch, since a layer's gradient has no memory of its own; of the embedding and the head
// always once a step. The order of sums is that of the communicator, so the same bits from run to run.
#pragma once

#include <string>
#include <vector>

#include "dist/communicator.h"
#include "model/decoder.h"
#include "train/optimizer.h"
#include "train/sharded_weights.h"
#include "train/trained.h"

namespace rlcpp::train {

struct ShardRegions {
  std::vector<RegionId> buffers;  // gradients of each group; at levels 2 and 3 the layers share kSlots
  std::vector<RegionId> sums;     // of each group [shard]: none where the own part of the buffer is the sum
  // Moments of each group's shard: those parameters that have one lie in a row, each at a multiple of
  // kGranule elements.
  std::vector<RegionId> first, second;
  model::WeightRegions views;
};
ShardRegions plan_shards(const model::ModelConfig& config, const Sharding& sharding, const OptimConfig& optim,
                         DType moments, bool moments_on_host, MemoryPlan& plan);

class Shards final : public model::BlockObserver {
 public:
  Shards(const ops::Context& ctx, const model::ModelConfig& config, const Arena& arena,
         const ShardRegions& regions, const ShardedWeights& weights, const OptimConfig& optim,
         dist::Communicator& communicator);

  // What this rank's optimizer changes: a piece of a parameter an entry.
  const std::vector<TrainedParameter>& pieces() const { return pieces_; }
  const ShardLayout& layout() const { return weights_.layout; }
  // This rank's part of a group in which every parameter has a first moment, laid out as the group is.
  const Tensor& first_moments(std::size_t group) const { return first_[group]; }
  const model::WeightSet& gradients() const { return gradients_; }

  void begin_step();
  // `last`: of the step, so that what is reduced once a step is reduced behind this backward.
  void begin_micro_batch(bool last) { last_ = last; }
  // All sums are complete for operations that follow.
  void finish_gradients();
  // After the masters, and working copies where pieces() have them, changed: the decoders of all ranks read
  // the new weights.
  void publish();

  void before_weights(std::size_t layer, Pass pass) override;
  void before_gradients(std::size_t layer) override;
  void after_gradients(std::size_t layer) override;
  void after_backward() override;

 private:
  bool slots_of_weights() const { return weights_.sharding.zero >= 3; }
  bool slots_of_gradients() const { return weights_.sharding.zero >= 2; }
  dist::Stream stream() const { return {ops::stream_handle(ctx_)}; }
  Tensor own_sum(std::size_t group) const;
  void gather(std::size_t group);
  void require_layer(std::size_t layer);
  void reduce(std::size_t group);
  void collect(std::size_t slot);
  void await();
  void pack(std::size_t group);

  ops::Context ctx_;
  dist::Communicator& communicator_;
  ShardedWeights weights_;
  std::vector<Tensor> buffers_, sums_;  // sums_: empty where the own part of the buffer is the sum
  std::vector<Tensor> first_;           // moments of each group; empty where there are none
  model::WeightSet gradients_;
  std::vector<TrainedParameter> pieces_;
  bool last_ = false;

  static constexpr std::size_t kNone = ~std::size_t{0};
  struct WeightSlot {
    std::size_t layer = kNone;
    dist::Ticket ticket;
  };
  struct GradientSlot {
    std::size_t group = kNone;  // whose sum is under way
    dist::Ticket ticket;
  };
  std::vector<WeightSlot> weight_slots_;
  std::vector<GradientSlot> gradient_slots_;
  std::vector<dist::Ticket> tickets_;  // of groups that have a buffer of their own
};

}  // namespace rlcpp::train
