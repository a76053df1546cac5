#include "train/sharded_weights.h"

#include <fmt/format.h>

#include "ops/matmul.h"
#include "tensor/copy.h"

namespace rlcpp::train {

ShardedWeightRegions plan_sharded_weights(const ops::Context& ctx, const model::ModelConfig& config,
                                          const Sharding& sharding, MemoryPlan& plan, bool masters_on_host) {
  ShardedWeightRegions r;
  r.sharding = sharding;
  r.layout = shard_layout(config, sharding.ranks);
  const DType type = ctx.compute_type();
  const bool slots = sharding.zero >= 3;
  const MemoryUse resting = masters_on_host && !slots ? MemoryUse::kHostOptimizer : MemoryUse::kOptimizer;
  for (std::size_t g = 0; g < r.layout.groups.size(); ++g) {
    const ShardLayout::Group& group = r.layout.groups[g];
    const bool shared = slots && g > kSlots;  // layers have groups from 1 on
    r.buffers.push_back(
        shared ? r.buffers[g - kSlots]
               : plan.add(MemoryUse::kWeights, fmt::format("weights of group {}", g), type, {group.size}));
    const bool apart = type != DType::kF32 || (slots && g > 0);
    r.masters.push_back(
        apart ? plan.add(resting, fmt::format("masters of group {}", g), DType::kF32, {group.shard})
              : RegionId{});
  }
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  std::vector<RegionId> packed_of_layer_slot;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const model::ParameterInfo& info = parameters[i];
    const ShardLayout::Place& place = r.layout.places[i];
    r.weights.regions.push_back(plan.alias(r.buffers[place.group], MemoryUse::kWeights, "weight." + info.name,
                                           type, std::span<const std::int64_t>(info.shape),
                                           static_cast<std::size_t>(place.offset) * size_of(type)));
    const std::int64_t size = info.product ? ops::packed_weight_size(ctx, info.shape[0], info.shape[1]) : 0;
    const std::int64_t layer = info.layer;
    const std::size_t in_layer = r.layout.groups[place.group].parameters.size();
    if (slots && layer >= static_cast<std::int64_t>(kSlots)) {
      r.packed.regions.push_back(r.packed.regions[i - kSlots * in_layer]);
    } else {
      r.packed.regions.push_back(
          size == 0 ? RegionId{} : plan.add(MemoryUse::kWeights, "packed " + info.name, DType::kF32, {size}));
    }
  }
  return r;
}

Tensor ShardedWeights::own(std::size_t group) const {
  const std::int64_t shard = layout.groups.at(group).shard;
  return buffers.at(group).rows(shard * sharding.rank, shard);
}

ShardedWeights make_sharded_weights(const model::ModelConfig& config, const Arena& arena,
                                    const ShardedWeightRegions& regions) {
  ShardedWeights out;
  out.layout = regions.layout;
  out.sharding = regions.sharding;
  for (const RegionId id : regions.buffers) out.buffers.push_back(arena[id]);
  for (std::size_t g = 0; g < regions.masters.size(); ++g) {
    const RegionId id = regions.masters[g];
    out.masters.push_back(id.index < 0 ? out.own(g) : arena[id]);
  }
  out.weights = model::make_weight_set(config, arena, regions.weights);
  out.packed = model::make_packed_set(config, arena, regions.packed);
  return out;
}

void fill_masters(const ShardedWeights& to, const model::WeightSet& whole) {
  RLCPP_CHECK(whole.flat.size() == to.layout.places.size());
  for (std::size_t g = 0; g < to.layout.groups.size(); ++g) {
    fill_bytes(to.masters[g], 0);  // what lies between parameters is reduced and gathered too
    for (const ShardLayout::Piece& piece : to.layout.pieces(g, to.sharding.rank)) {
      const Tensor& parameter = whole.flat[piece.parameter];
      copy(to.masters[g].rows(piece.at, piece.count),
           parameter.view({parameter.size()}).rows(piece.first, piece.count));
    }
  }
}

void init_masters(const ShardedWeights& to, const model::ModelConfig& config, std::uint64_t seed,
                  ThreadPool* pool) {
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  for (std::size_t g = 0; g < to.layout.groups.size(); ++g) {
    fill_bytes(to.masters[g], 0);
    for (const ShardLayout::Piece& piece : to.layout.pieces(g, to.sharding.rank)) {
      model::init_random_part(config, parameters[piece.parameter], piece.first,
                              to.masters[g].rows(piece.at, piece.count), seed, pool);
    }
  }
}

}  // namespace rlcpp::train
