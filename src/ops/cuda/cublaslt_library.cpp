#include "ops/cuda/cublaslt_library.h"

#include <dlfcn.h>

#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::ops::cuda {
namespace {

// Newest first: the one of the toolkit that we compile against, an older one with the same functions,
// whatever a developer's installation links to; then the place where NVIDIA's installer puts it without
// telling the loader.
constexpr std::array kCublasLtNames = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                                       "/usr/local/cuda/lib64/libcublasLt.so"};

Error cublaslt_missing(std::string what, std::string because) {
  return environment_error(
      std::move(what), std::move(because),
      "install CUDA's cuBLAS (the packages libcublas-13-0 of NVIDIA's repository or nvidia-cublas of PyPI "
      "have it) and name its folder in LD_LIBRARY_PATH (tools/cuda_libraries.sh prints it; where PyTorch is "
      "installed it is nvidia/cu13/lib beside it), or run with --device cpu");
}

template <class Function>
void resolve_cublaslt(void* library, const char* symbol, Function*& place) {
  place = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (place != nullptr) return;
  throw cublaslt_missing(fmt::format("the cuBLASLt of this machine has no function {}", symbol),
                         "it is another library of that name, or older than CUDA 12");
}

}  // namespace

CublasLt::CublasLt() {
  std::string tried;
  void* library = nullptr;
  for (const char* name : kCublasLtNames) {
    // NODELETE, and never closed: its kernels belong to the CUDA context, which lives as long as the process.
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library != nullptr) {
      name_ = name;
      break;
    }
    if (const char* reason = dlerror(); reason != nullptr && tried.empty()) tried = reason;
  }
  if (library == nullptr) {
    throw cublaslt_missing("cuBLASLt cannot be loaded (libcublasLt.so.13); products on a GPU need it", tried);
  }
  resolve_cublaslt(library, "cublasLtGetVersion", get_version);
  resolve_cublaslt(library, "cublasLtGetStatusName", status_name);
  resolve_cublaslt(library, "cublasLtCreate", create);
  resolve_cublaslt(library, "cublasLtDestroy", destroy);
  resolve_cublaslt(library, "cublasLtMatmul", matmul);
  resolve_cublaslt(library, "cublasLtMatmulAlgoConfigGetAttribute", algorithm_get);
  resolve_cublaslt(library, "cublasLtMatmulDescCreate", product_create);
  resolve_cublaslt(library, "cublasLtMatmulDescDestroy", product_destroy);
  resolve_cublaslt(library, "cublasLtMatmulDescSetAttribute", product_set);
  resolve_cublaslt(library, "cublasLtMatrixLayoutCreate", layout_create);
  resolve_cublaslt(library, "cublasLtMatrixLayoutDestroy", layout_destroy);
  resolve_cublaslt(library, "cublasLtMatrixLayoutSetAttribute", layout_set);
  resolve_cublaslt(library, "cublasLtMatmulPreferenceCreate", preference_create);
  resolve_cublaslt(library, "cublasLtMatmulPreferenceDestroy", preference_destroy);
  resolve_cublaslt(library, "cublasLtMatmulPreferenceSetAttribute", preference_set);
  resolve_cublaslt(library, "cublasLtMatmulAlgoGetHeuristic", heuristic);
  resolve_cublaslt(library, "cublasLtMatmulAlgoCheck", check_algorithm);
}

void CublasLt::check(cublasStatus_t status, const char* call) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw runtime_failure(fmt::format("a cuBLASLt call failed: {}", call), status_name(status),
                        "run again with CUBLASLT_LOG_LEVEL=1 in the environment to see the library's reason");
}

LtHandle make_handle(const CublasLt& lt) {
  cublasLtHandle_t handle = nullptr;
  lt.check(lt.create(&handle), "cublasLtCreate");
  return {handle, lt.destroy};
}

LtProduct make_product(const CublasLt& lt) {
  cublasLtMatmulDesc_t product = nullptr;
  lt.check(lt.product_create(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  return {product, lt.product_destroy};
}

LtLayout make_layout(const CublasLt& lt, cudaDataType type, std::int64_t rows, std::int64_t columns,
                     std::int64_t leading) {
  cublasLtMatrixLayout_t layout = nullptr;
  lt.check(lt.layout_create(&layout, type, static_cast<std::uint64_t>(rows),
                            static_cast<std::uint64_t>(columns), leading),
           "cublasLtMatrixLayoutCreate");
  return {layout, lt.layout_destroy};
}

void set_batch(const CublasLt& lt, const LtLayout& layout, std::int64_t count, std::int64_t distance) {
  const auto matrices = static_cast<std::int32_t>(count);
  lt.check(lt.layout_set(layout.get(), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &matrices, sizeof matrices),
           "cublasLtMatrixLayoutSetAttribute");
  lt.check(
      lt.layout_set(layout.get(), CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &distance, sizeof distance),
      "cublasLtMatrixLayoutSetAttribute");
}

LtPreference make_preference(const CublasLt& lt) {
  cublasLtMatmulPreference_t preference = nullptr;
  lt.check(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  return {preference, lt.preference_destroy};
}

}  // namespace rlcpp::ops::cuda
