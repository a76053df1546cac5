// Scratch memory of operations. On a GPU it is part of the plan: asked for before the arena exists, handed
// over once it does. The CPU's operations keep their own small scratch a thread.
#pragma once

#include <cstddef>

#include "ops/context.h"
#include "ops/rope.h"

namespace rlcpp::ops {

// The largest calls of a run.
struct WorkspaceNeeds {
  std::int64_t tokens = 0;  // rows of one micro-batch or forward
  std::int64_t documents = 0;
  std::int64_t hidden_size = 0, vocab_size = 0;
  QkvShape shape;
};

// Bytes of scratch that calls of up to these sizes take. 0 on the CPU. In a planning_context() without the
// GPU what its libraries would ask for is estimated.
std::size_t workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs);

// How much of it, from its start, the operations of ops/head.h take; what lies behind is free during their
// calls.
std::size_t head_workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs);

// Every later call on `ctx` and its copies takes its scratch from `memory`, which outlives them. A call that
// needs more throws runtime_failure with both sizes.
void use_workspace(const Context& ctx, const Tensor& memory);

}  // namespace rlcpp::ops
