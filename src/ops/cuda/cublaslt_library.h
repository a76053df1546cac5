// cuBLASLt, loaded when the first GPU context is made. The binary is not linked with it, so that it starts,
// and trains on the CPU, on a machine without any CUDA library.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <string>

namespace rlcpp::ops::cuda {

// The functions that we use, with the library's own signatures.
class CublasLt {
 public:
  // Throws environment_error, naming the library and how to get it, if none can be loaded.
  CublasLt();

  decltype(&::cublasLtGetVersion) get_version = nullptr;
  decltype(&::cublasLtGetStatusName) status_name = nullptr;
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
  decltype(&::cublasLtMatmulDescCreate) product_create = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) product_destroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) product_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&::cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&::cublasLtMatmulAlgoCheck) check_algorithm = nullptr;
  decltype(&::cublasLtMatmulAlgoConfigGetAttribute) algorithm_get = nullptr;

  // The name under which it was found: "libcublasLt.so.13".
  const std::string& name() const { return name_; }

  // Throws runtime_failure naming the call and the status unless it is success.
  void check(cublasStatus_t status, const char* call) const;

 private:
  std::string name_;
};

// What the library creates, destroyed with its owner. The deleter is the library's own function.
using LtHandle = std::unique_ptr<cublasLtContext, decltype(&::cublasLtDestroy)>;
using LtProduct = std::unique_ptr<cublasLtMatmulDescOpaque_t, decltype(&::cublasLtMatmulDescDestroy)>;
using LtLayout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, decltype(&::cublasLtMatrixLayoutDestroy)>;
using LtPreference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, decltype(&::cublasLtMatmulPreferenceDestroy)>;

LtHandle make_handle(const CublasLt& lt);
// f32 sums and f32 alpha and beta, read from the host.
LtProduct make_product(const CublasLt& lt);
// A column-major matrix whose columns are `leading` elements apart.
LtLayout make_layout(const CublasLt& lt, cudaDataType type, std::int64_t rows, std::int64_t columns,
                     std::int64_t leading);
// Makes of it `count` matrices, `distance` elements apart.
void set_batch(const CublasLt& lt, const LtLayout& layout, std::int64_t count, std::int64_t distance);
LtPreference make_preference(const CublasLt& lt);

}  // namespace rlcpp::ops::cuda
