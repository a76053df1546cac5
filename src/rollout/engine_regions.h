// What the engine has planned: its numbers after checks, and where its memory is.
#pragma once

#include <vector>

#include "rollout/engine.h"
#include "rollout/sampler.h"
#include "rollout/scheduler.h"

namespace rlcpp::rollout {

struct Engine::Regions {
  SchedulerConfig scheduler;
  std::vector<RegionId> k, v;                   // one a layer: [num_pages, page_size, num_kv_heads, head_dim]
  RegionId ids, positions, slots, sequence_of;  // [max_batch_tokens] i32
  RegionId block_tables;                        // [max_sequences, pages of one] i32
  model::PagedScratchRegions scratch;
  SamplerRegions sampler;
};

}  // namespace rlcpp::rollout
