// What the engine has planned: its numbers after checks, and where its memory is.
#pragma once

#include <vector>

#include "rollout/adapter_slots.h"
#include "rollout/device_sampler.h"
#include "rollout/engine.h"
#include "rollout/sampler.h"
#include "rollout/scheduler.h"

namespace rlcpp::rollout {

struct Engine::Regions {
  SchedulerConfig scheduler;
  // One a layer: [num_pages + 1, page_size, num_kv_heads, head_dim]. Nobody reads the last page: what a graph
  // computes beyond the step's rows goes there.
  std::vector<RegionId> k, v;
  StepRegions step;
  model::PagedScratchRegions scratch;
  AdapterSlotRegions adapters;
  SamplerRegions sampler;               // on the CPU
  DeviceSamplerRegions device_sampler;  // on a GPU
};

}  // namespace rlcpp::rollout
