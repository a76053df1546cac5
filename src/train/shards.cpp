#include "train/shards.h"

#include <algorithm>

#include <fmt/format.h>

#include "ops/cast.h"
#include "ops/matmul.h"
#include "ops/optimizer.h"
#include "tensor/copy.h"

namespace rlcpp::train {
namespace {

constexpr std::int64_t kMomentGranule = 128;

std::int64_t moment_granules(std::int64_t count) {
  return (count + kMomentGranule - 1) / kMomentGranule * kMomentGranule;
}

// Elements that the moments of a group take on the rank that has most of them: the plan is one for all ranks.
std::int64_t moment_elements(const model::ModelConfig& config, const ShardLayout& layout, std::size_t group,
                             const OptimConfig& optim, bool MomentUse::*which) {
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  const auto has = [&](std::size_t i) { return moments_of(optim, parameters[i]).*which; };
  // Of all parameters: the places of the shard itself.
  if (std::ranges::all_of(layout.groups[group].parameters, has)) return layout.groups[group].shard;
  std::int64_t most = 0;
  for (int rank = 0; rank < layout.ranks; ++rank) {
    std::int64_t sum = 0;
    for (const ShardLayout::Piece& piece : layout.pieces(group, rank)) {
      if (has(piece.parameter)) sum += moment_granules(piece.count);
    }
    most = std::max(most, sum);
  }
  return most;
}

// The next `count` elements of a region.
Tensor take_moment(const Tensor& region, std::int64_t& at, std::int64_t count) {
  const Tensor out = region.rows(at, count);
  at += moment_granules(count);
  return out;
}

std::string name_of_group(std::size_t group) {
  return group == 0 ? std::string("embedding and head") : fmt::format("layer {}", group - 1);
}

}  // namespace

ShardRegions plan_shards(const model::ModelConfig& config, const Sharding& sharding, const OptimConfig& optim,
                         DType moments, bool moments_on_host, MemoryPlan& plan) {
  ShardRegions r;
  const ShardLayout layout = shard_layout(config, sharding.ranks);
  const bool slots = sharding.zero >= 2;
  const MemoryUse resting = moments_on_host ? MemoryUse::kHostOptimizer : MemoryUse::kOptimizer;
  for (std::size_t g = 0; g < layout.groups.size(); ++g) {
    const ShardLayout::Group& group = layout.groups[g];
    const auto add = [&](MemoryUse use, const char* what, DType type, std::int64_t size) {
      return plan.add(use, fmt::format("{} of group {}", what, g), type, {size});
    };
    r.buffers.push_back(slots && g > kSlots
                            ? r.buffers[g - kSlots]
                            : add(MemoryUse::kGradients, "gradients", DType::kF32, group.size));
    r.sums.push_back(slots && g > 0 ? add(MemoryUse::kGradients, "sums", DType::kF32, group.shard)
                                    : RegionId{});
    const std::int64_t first = moment_elements(config, layout, g, optim, &MomentUse::first);
    const std::int64_t second = moment_elements(config, layout, g, optim, &MomentUse::second);
    r.first.push_back(first > 0 ? add(resting, "exp_avg", moments, first) : RegionId{});
    r.second.push_back(second > 0 ? add(resting, "exp_avg_sq", moments, second) : RegionId{});
  }
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ShardLayout::Place& place = layout.places[i];
    r.views.regions.push_back(plan.alias(r.buffers[place.group], MemoryUse::kGradients,
                                         "gradient." + parameters[i].name, DType::kF32,
                                         std::span<const std::int64_t>(parameters[i].shape),
                                         static_cast<std::size_t>(place.offset) * sizeof(float)));
  }
  return r;
}

Shards::Shards(const ops::Context& ctx, const model::ModelConfig& config, const Arena& arena,
               const ShardRegions& regions, const ShardedWeights& weights, const OptimConfig& optim,
               dist::Communicator& communicator)
    : ctx_(ctx),
      communicator_(communicator),
      weights_(weights),
      gradients_(model::make_weight_set(config, arena, regions.views)),
      weight_slots_(kSlots),
      gradient_slots_(kSlots),
      tickets_(regions.buffers.size()) {
  RLCPP_CHECK(communicator.size() == weights.sharding.ranks && communicator.rank() == weights.sharding.rank);
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  for (std::size_t g = 0; g < regions.buffers.size(); ++g) {
    buffers_.push_back(arena[regions.buffers[g]]);
    sums_.push_back(regions.sums[g].index < 0 ? Tensor() : arena[regions.sums[g]]);
    std::int64_t at_first = 0, at_second = 0;
    first_.push_back(regions.first[g].index < 0 ? Tensor() : arena[regions.first[g]]);
    // Level 3 has no working copy of a layer at rest: it is made when the layer is gathered.
    const bool working = ctx.compute_type() != DType::kF32 && !weights_.in_slots(g);
    for (const ShardLayout::Piece& piece : weights_.layout.pieces(g, weights_.sharding.rank)) {
      TrainedParameter& p = pieces_.emplace_back();
      p.name = parameters[piece.parameter].name;
      p.slices = parameters[piece.parameter].slices;
      p.decay = parameters[piece.parameter].decay;
      p.index = piece.parameter;
      p.first_element = piece.first;
      p.master = weights_.masters[g].rows(piece.at, piece.count);
      if (working) p.working = weights_.own(g).rows(piece.at, piece.count);
      p.gradient = own_sum(g).rows(piece.at, piece.count);
      const MomentUse use = moments_of(optim, parameters[piece.parameter]);
      if (use.first) p.first = take_moment(arena[regions.first[g]], at_first, piece.count);
      if (use.second) p.second = take_moment(arena[regions.second[g]], at_second, piece.count);
    }
  }
}

Tensor Shards::own_sum(std::size_t group) const {
  if (!sums_[group].empty()) return sums_[group];
  const std::int64_t shard = weights_.layout.groups[group].shard;
  return buffers_[group].rows(shard * weights_.sharding.rank, shard);
}

void Shards::begin_step() {
  for (std::size_t g = 0; g < buffers_.size(); ++g)
    ops::zero(ctx_, sums_[g].empty() ? buffers_[g] : sums_[g]);
  tickets_.assign(tickets_.size(), dist::Ticket());
}

void Shards::gather(std::size_t group) {
  const std::string name = "weights of " + name_of_group(group);
  const dist::Ticket ticket =
      communicator_.all_gather(weights_.buffers[group], weights_.own(group), name, stream());
  if (weights_.in_slots(group)) {
    weight_slots_[(group - 1) % kSlots].ticket = ticket;
  } else {
    tickets_[group] = ticket;
  }
}

// The gather of a layer begins when what was given to the device so far is done: the layer that had the slot
// before is.
void Shards::require_layer(std::size_t layer) {
  WeightSlot& slot = weight_slots_[layer % kSlots];
  if (slot.layer == layer) return;
  slot.layer = layer;
  ops::cast(ctx_, weights_.own(layer + 1), weights_.masters[layer + 1]);
  gather(layer + 1);
  if (!ctx_.on_gpu()) pack(layer + 1);
}

void Shards::before_weights(std::size_t layer, Pass pass) {
  if (!slots_of_weights()) return;
  require_layer(layer);
  weight_slots_[layer % kSlots].ticket.before(stream());
  const std::size_t layers = weights_.buffers.size() - 1;
  if (pass == Pass::kForward && layer + 1 < layers) require_layer(layer + 1);
  if (pass == Pass::kBackward && layer > 0) require_layer(layer - 1);
}

void Shards::reduce(std::size_t group) {
  const std::int64_t shard = weights_.layout.groups[group].shard;
  const Tensor own = buffers_[group].rows(shard * weights_.sharding.rank, shard);
  const dist::Ticket ticket = communicator_.reduce_scatter(own, buffers_[group], dist::Reduction::kSum,
                                                           "gradients of " + name_of_group(group), stream());
  if (sums_[group].empty()) {
    tickets_[group] = ticket;
  } else {
    gradient_slots_[(group - 1) % kSlots] = {group, ticket};
  }
}

// Adds what a slot's reduction gave to the sum of its layer, for operations that follow.
void Shards::collect(std::size_t slot) {
  GradientSlot& from = gradient_slots_[slot];
  if (from.group == kNone) return;
  from.ticket.before(stream());
  const std::int64_t shard = weights_.layout.groups[from.group].shard;
  ops::add(ctx_, sums_[from.group], buffers_[from.group].rows(shard * weights_.sharding.rank, shard));
  from = {};
}

void Shards::before_gradients(std::size_t layer) {
  if (!slots_of_gradients()) return;
  collect(layer % kSlots);
  ops::zero(ctx_, buffers_[layer + 1]);
}

void Shards::after_gradients(std::size_t layer) {
  if (slots_of_gradients() || last_) reduce(layer + 1);
}

void Shards::after_backward() {
  if (last_) reduce(0);
}

// Operations that follow come after what was begun on whole groups.
void Shards::await() {
  for (const dist::Ticket& ticket : tickets_) ticket.before(stream());
  tickets_.assign(tickets_.size(), dist::Ticket());
}

void Shards::finish_gradients() {
  for (std::size_t slot = 0; slot < kSlots; ++slot) collect(slot);
  await();
}

void Shards::pack(std::size_t group) {
  for (const std::size_t i : weights_.layout.groups[group].parameters) {
    if (!weights_.packed.flat[i].empty())
      ops::pack_weight(ctx_, weights_.packed.flat[i], weights_.weights.flat[i]);
  }
}

void Shards::publish() {
  for (WeightSlot& slot : weight_slots_) slot.layer = kNone;
  for (std::size_t g = 0; g < weights_.buffers.size(); ++g) {
    if (weights_.in_slots(g)) continue;
    gather(g);
  }
  await();
  for (std::size_t g = 0; g < weights_.buffers.size(); ++g) {
    if (!weights_.in_slots(g)) pack(g);
  }
}

}  // namespace rlcpp::train
