// What the plan asks of the norm.
#pragma once

#include "ops/workspace.h"

namespace rlcpp::ops::cuda {

// Bytes of scratch that rmsnorm_backward takes for calls of up to these sizes.
std::size_t norm_scratch(const WorkspaceNeeds& needs);

}  // namespace rlcpp::ops::cuda
