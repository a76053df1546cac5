// The few calls of cuBLASLt that gpu_facts needs, loaded at run time, and a product y = x w^T described for
// it.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common.h"

namespace gpu_facts {

// The entry points, found in libcublasLt.so.13 on first use; throws std::runtime_error if it cannot be
// loaded.
struct LtApi {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulAlgoGetIds) algo_ids;
  decltype(&cublasLtMatmulAlgoInit) algo_init;
  decltype(&cublasLtMatmulAlgoCheck) algo_check;
  decltype(&cublasLtMatmulAlgoCapGetAttribute) algo_capability;
  decltype(&cublasLtMatmulAlgoConfigSetAttribute) algo_set;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) algo_get;
};
const LtApi& lt();
cublasLtHandle_t lt_handle();
void lt_check(cublasStatus_t status, const char* what);

struct LtAlgo {
  cublasLtMatmulAlgo_t algo{};
  std::size_t workspace_bytes = 0;
  float waves = 0;
};

struct LtAttributes {
  std::int32_t id = -1, split_k = -1;
  std::uint32_t tile = 0, stages = 0, reduction = 0, swizzle = 0, custom = 0;
  std::uint16_t inner = 0, cluster = 0;
  std::string text() const;  // "id 66 tile 18 stages 36 cluster 3 ..."
};
LtAttributes attributes(const LtAlgo& algo);

enum class LtOutput { bf16, f32 };

// y[m, n] = x[m, k] w[n, k]^T + beta * y, row-major, bf16 factors, f32 accumulation. In cuBLASLt's
// column-major words this is the TN product of n x m. `row_x` and `row_w` are the row lengths in memory (k if
// not given).
class LtProduct {
 public:
  LtProduct(std::int64_t m, std::int64_t n, std::int64_t k, LtOutput output = LtOutput::bf16,
            std::int64_t row = 0);
  ~LtProduct();
  LtProduct(const LtProduct&) = delete;
  LtProduct& operator=(const LtProduct&) = delete;

  // What the heuristic proposes, best first. `plain` asks for no workspace and no reduction over K splits: no
  // split-K, and no stream-K either, which cannot do without a workspace.
  std::vector<LtAlgo> proposals(int count, bool plain) const;
  // Any algorithm of this product's types that the library can run without workspace: ids x tiles x stages x
  // clusters.
  std::vector<LtAlgo> enumerate(int limit) const;
  // The same algorithm for this product, or nothing if the library refuses it.
  std::optional<LtAlgo> adapt(const LtAlgo& algo) const;
  void run(const LtAlgo& algo, const void* x, const void* w, void* y, float beta,
           const DeviceBuffer& workspace, cudaStream_t stream) const;

 private:
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  cudaDataType_t output_ = CUDA_R_16BF;
};

constexpr std::size_t lt_workspace_bytes = std::size_t{32} << 20;

// Products of a Qwen3 layer and its head.
struct NamedProduct {
  const char* name;
  std::int64_t n, k;
};
const std::vector<NamedProduct>& model_products();

}  // namespace gpu_facts
