// Prompts that a step computes from their first token on. In mode fast their attention is the trainer's over
// documents (cuDNN), at several times the speed of attention that reads pages: 578 us a layer of 0.6B against
// 8 prompts of 1024 tokens on an H100.
#pragma once

#include <span>

#include "rollout/scheduler.h"
#include "rollout/step_buffers.h"

namespace rlcpp::rollout {

// Chunks [begin, end) of a plan, of `rows` rows.
struct WholeRun {
  std::size_t begin = 0, end = 0;
  std::int64_t rows = 0;
};

// The longest run of neighbouring chunks that begin with their sequence; none if it is too short to be worth
// a kernel of its own. A chunk of one token is left to the kernels that decode: a graph holds no documents.
WholeRun whole_run(std::span<const StepPlan::Chunk> chunks);

// The documents that the run asks for: so many with the empty ones, the longest no shorter than any.
struct WholeNumbers {
  std::int64_t documents = 0, longest = 0;
};
WholeNumbers numbers_of(std::span<const StepPlan::Chunk> chunks, const WholeRun& run);

// The same run where it pays: cuDNN computes it. None in mode exact, which keeps to the kernels for pages,
// and without cuDNN, whose place our portable kernels for documents would take, at a fraction of the speed of
// those for pages.
WholeRun whole_run_on(const ops::Context& ctx, const model::ModelConfig& model,
                      std::span<const StepPlan::Chunk> chunks);

// Writes the boundaries of the run's documents and has the batch attend to them so. Nothing is done for an
// empty run.
void fill_whole_documents(std::span<const StepPlan::Chunk> chunks, const WholeRun& run, StepViews& step);

}  // namespace rlcpp::rollout
