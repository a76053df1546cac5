// Weights of a model whose parts belong to several ranks: what the decoder reads in buffers of groups
// (train/shard_layout.h), and of the f32 masters this rank's shards alone.
#pragma once

#include <vector>

#include "model/weights.h"
#include "tensor/arena.h"
#include "train/shard_layout.h"

namespace rlcpp::train {

struct ShardedWeightRegions {
  ShardLayout layout;
  Sharding sharding;
  std::vector<RegionId> buffers;  // of each group; at level 3 the layers share kSlots of them
  std::vector<RegionId> masters;  // of each group; none where its buffer holds them
  model::WeightRegions weights, packed;
};

// Level 3: layer l has buffer l mod kSlots. One is in use while the next is gathered.
constexpr std::size_t kSlots = 2;

// Adds what the decoder reads (with its packed forms) and the masters. `masters_on_host`:
// they rest in the host's memory, if they are apart from what the decoder reads; not at level 3, which reads
// them in every gather.
ShardedWeightRegions plan_sharded_weights(const ops::Context& ctx, const model::ModelConfig& config,
                                          const Sharding& sharding, MemoryPlan& plan, bool masters_on_host);

struct ShardedWeights {
  ShardLayout layout;
  Sharding sharding;
  std::vector<Tensor> buffers;  // of each group, flat
  std::vector<Tensor> masters;  // of each group [shard] f32; views of the buffers where those hold them
  model::WeightSet weights, packed;

  bool any() const { return sharding.any(); }
  // This rank's part of a group's buffer.
  Tensor own(std::size_t group) const;
  bool in_slots(std::size_t group) const { return sharding.zero >= 3 && group > 0; }
};

ShardedWeights make_sharded_weights(const model::ModelConfig& config, const Arena& arena,
                                    const ShardedWeightRegions& regions);

// The masters of this rank, from the whole model in f32 on the host.
void fill_masters(const ShardedWeights& to, const model::WeightSet& whole);

// The masters of this rank as model::init_random() makes them, on the device, without the whole.
void init_masters(const ShardedWeights& to, const model::ModelConfig& config, std::uint64_t seed,
                  ThreadPool* pool);

}  // namespace rlcpp::train
