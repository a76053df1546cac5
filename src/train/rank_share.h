// Which micro-batches of a step are a rank's.
#pragma once

#include <memory>
#include <vector>

#include "data/batch.h"
#include "train/shard_layout.h"

namespace rlcpp::train {

struct RankShare {
  std::vector<const data::MicroBatch*> batches;  // into those of the step, or `idle`
  std::unique_ptr<const data::MicroBatch> idle;
  std::size_t first = 0;  // number of the first of them in the step
};

// Consecutive ones, as many for every rank, so that what all ranks gather in their order is in the order of
// the step. Where they do not come out even, the last ranks are given a short document with nothing to train
// in place of each that is missing: collectives of levels 2 and 3 need every rank in every micro-batch.
RankShare share_of(const std::vector<data::MicroBatch>& batches, const Sharding& sharding);

}  // namespace rlcpp::train
