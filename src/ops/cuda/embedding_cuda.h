// What the plan asks of the embedding.
#pragma once

#include "ops/workspace.h"

namespace rlcpp::ops::cuda {

// Bytes of scratch that embedding_backward takes for calls of up to these sizes.
std::size_t embedding_scratch(const WorkspaceNeeds& needs);

}  // namespace rlcpp::ops::cuda
