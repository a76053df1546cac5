#include "train/shard_layout.h"

#include <algorithm>

#include "base/error.h"

namespace rlcpp::train {
namespace {

// Elements: 256 bytes of bf16, so that every parameter of a group begins where a region of the plan may, and
// every cut where four draws of the optimizer's rounding do.
constexpr std::int64_t kGranule = 128;

std::int64_t rounded_up(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

ShardLayout shard_layout(const model::ModelConfig& config, int ranks) {
  RLCPP_CHECK(ranks >= 1);
  const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
  ShardLayout layout;
  layout.ranks = ranks;
  layout.groups.resize(static_cast<std::size_t>(config.num_layers) + 1);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto index = static_cast<std::size_t>(parameters[i].layer + 1);
    ShardLayout::Group& group = layout.groups.at(index);
    std::int64_t size = 1;
    for (const std::int64_t extent : parameters[i].shape) size *= extent;
    layout.places.push_back({index, group.size, size});
    group.parameters.push_back(i);
    group.size += rounded_up(size, kGranule);
  }
  for (ShardLayout::Group& group : layout.groups) {
    group.size = rounded_up(group.size, kGranule * ranks);
    group.shard = group.size / ranks;
  }
  return layout;
}

std::vector<ShardLayout::Piece> ShardLayout::pieces(std::size_t group, int rank) const {
  const Group& g = groups.at(group);
  const std::int64_t begin = g.shard * rank, end = begin + g.shard;
  std::vector<Piece> out;
  for (const std::size_t parameter : g.parameters) {
    const Place& place = places[parameter];
    const std::int64_t from = std::max(begin, place.offset), to = std::min(end, place.offset + place.size);
    if (from < to) out.push_back({parameter, from - place.offset, to - from, from - begin});
  }
  return out;
}

}  // namespace rlcpp::train
