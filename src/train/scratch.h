// Scratch memory of the step's operations, and the chunk of logits that lives in it.
#pragma once

#include "model/config.h"
#include "ops/context.h"
#include "tensor/arena.h"
#include "train/trainer.h"

namespace rlcpp::train {

struct ScratchRegions {
  RegionId logits;     // f32 [rows of a chunk, vocabulary]
  RegionId workspace;  // index -1 where operations need none (the CPU)
};

// The logits lie behind the scratch that the head's own operations take, in the place of what other
// operations use at other times. Without options.head_chunk there are 256 rows of them on the CPU and 2112 on
// a GPU, where a chunk of few rows is slow: its products fill a fraction of the chip, and each adds to the
// head's whole gradient.
ScratchRegions plan_scratch(const ops::Context& ctx, const model::ModelConfig& model,
                            const TrainerOptions& options, MemoryPlan& plan);

}  // namespace rlcpp::train
