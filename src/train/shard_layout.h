// How the parameters of a model are cut into the parts of ranks (ZeRO; Rajbhandari et al. 2020). Parameters
// lie in groups, one a layer and one for the rest, since a group is what one collective moves; each group is
// cut into as many equal runs of elements as there are ranks, whatever parameter a cut falls into.
#pragma once

#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace rlcpp::train {

// Rank `rank` of `ranks`, and what is not held whole by each of them: 1 the optimizer's state (masters and
// moments), 2 gradients too, 3 weights too. One rank holds everything, whatever the level.
struct Sharding {
  int ranks = 1, rank = 0;
  int zero = 1;
  bool any() const { return ranks > 1; }
};

struct ShardLayout {
  struct Group {
    std::vector<std::size_t> parameters;  // indices into parameter_list
    std::int64_t size = 0;                // elements, with padding: shard * ranks
    std::int64_t shard = 0;
  };
  struct Place {
    std::size_t group = 0;
    std::int64_t offset = 0, size = 0;  // elements
  };
  int ranks = 1;
  std::vector<Group> groups;  // 0: embedding, final norm and head; l + 1: layer l
  std::vector<Place> places;  // of each parameter

  // A run of elements of one parameter inside the shard of a rank.
  struct Piece {
    std::size_t parameter = 0;
    std::int64_t first = 0, count = 0;  // elements of the parameter
    std::int64_t at = 0;                // place in the shard
  };
  // In order of their places; `first` is a multiple of 128.
  std::vector<Piece> pieces(std::size_t group, int rank) const;
};

ShardLayout shard_layout(const model::ModelConfig& config, int ranks);

}  // namespace rlcpp::train
