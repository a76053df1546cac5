// What the plan asks of QK-norm and rotary positions.
#pragma once

#include "ops/workspace.h"

namespace rlcpp::ops::cuda {

// Bytes of scratch that qk_norm_rope_backward takes for calls of up to these sizes.
std::size_t rope_scratch(const WorkspaceNeeds& needs);

}  // namespace rlcpp::ops::cuda
