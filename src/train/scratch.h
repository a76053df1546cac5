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

// On a GPU attention's scratch is the largest, and it lies idle while the head is visited: the logits take
// its place. A chunk of few rows is slow there (its products fill a fraction of the chip, and each adds to
// the head's whole gradient), so without options.head_chunk there are as many rows as cost no memory, up to
// 2048. On the CPU they are 256.
ScratchRegions plan_scratch(const ops::Context& ctx, const model::ModelConfig& model,
                            const TrainerOptions& options, MemoryPlan& plan);

}  // namespace rlcpp::train
