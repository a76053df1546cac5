// Sums whose parts were left in scratch by the blocks of an earlier kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace rlcpp::ops::cuda {

// to[c] += the sum over p < count of from[p * stride + c], for c < columns. The order of the sum depends on
// `count` alone.
void add_partials(cudaStream_t stream, float* to, const float* from, std::int64_t count, std::int64_t columns,
                  std::int64_t stride);

}  // namespace rlcpp::ops::cuda
