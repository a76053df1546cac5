// What CUDA operations share: one stream, the library handles, workspace. Made once a device by make_context;
// its members are in runtime_cuda.h, which only this folder reads.
#pragma once

#include <memory>

#include "ops/workspace.h"

namespace rlcpp::ops::cuda {

class Runtime;

// Throws environment_error if there is no such GPU, or a library it needs cannot be loaded.
std::shared_ptr<Runtime> make_runtime(Device device, NumericMode mode);

void synchronize(Runtime& runtime);
void* stream_handle(Runtime& runtime);

std::size_t workspace_bytes(Runtime& runtime, const WorkspaceNeeds& needs);
std::size_t head_workspace_bytes(Runtime& runtime, const WorkspaceNeeds& needs);
void use_workspace(Runtime& runtime, const Tensor& memory);

}  // namespace rlcpp::ops::cuda
