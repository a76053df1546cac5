// Ranks on GPUs: NCCL, loaded when the first communicator is made.
#pragma once

#include <memory>
#include <string>

#include "dist/communicator.h"

namespace rlcpp::dist::cuda {

// What all ranks of one communicator are given; made by rank 0's process, which from then on listens for the
// others (NCCL's bootstrap). Throws environment_error if NCCL cannot be loaded.
std::string nccl_unique_id();

// Collective. Throws environment_error or runtime_failure with NCCL's words, and the world's fault.
std::unique_ptr<Communicator> make_nccl(World& world, int rank, Device device, const std::string& unique_id);

}  // namespace rlcpp::dist::cuda
