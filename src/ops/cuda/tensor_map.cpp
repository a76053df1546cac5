#include "ops/cuda/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <fmt/format.h>

#include "base/error.h"
#include "tensor/device.h"

namespace rlcpp::ops::cuda {
namespace {

// The driver's function, found through the runtime: the driver's library is not linked.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    rlcpp::cuda::check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                        cudaEnableDefault, &result),
                       "cudaGetDriverEntryPointByVersion");
    if (result != cudaDriverEntryPointSuccess || function == nullptr) {
      throw environment_error("the driver lacks cuTensorMapEncodeTiled", "kernels for Hopper need it",
                              "install a driver of CUDA 12 or newer");
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return found;
}

}  // namespace

CUtensorMap boxes_of(const void* matrix, std::int64_t rows, std::int64_t columns, int box_rows) {
  CUtensorMap map;
  const cuuint64_t extents[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result =
      encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(matrix), extents, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw runtime_failure(
        "cuTensorMapEncodeTiled failed",
        fmt::format("error {} for a matrix [{}, {}]", static_cast<int>(result), rows, columns),
        "report this");
  }
  return map;
}

}  // namespace rlcpp::ops::cuda
