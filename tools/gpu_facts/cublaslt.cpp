#include "cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace gpu_facts {
namespace {

void* library() {
  static void* const handle = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) throw std::runtime_error(std::string("cannot load cuBLASLt: ") + dlerror());
  return handle;
}

template <typename Function>
void find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library(), name));
  if (function == nullptr) throw std::runtime_error(std::string("cuBLASLt has no ") + name);
}

LtApi load() {
  LtApi api{};
  find(api.create, "cublasLtCreate");
  find(api.destroy, "cublasLtDestroy");
  find(api.version, "cublasLtGetVersion");
  find(api.matmul, "cublasLtMatmul");
  find(api.desc_create, "cublasLtMatmulDescCreate");
  find(api.desc_destroy, "cublasLtMatmulDescDestroy");
  find(api.desc_set, "cublasLtMatmulDescSetAttribute");
  find(api.layout_create, "cublasLtMatrixLayoutCreate");
  find(api.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(api.preference_create, "cublasLtMatmulPreferenceCreate");
  find(api.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(api.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(api.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(api.algo_ids, "cublasLtMatmulAlgoGetIds");
  find(api.algo_init, "cublasLtMatmulAlgoInit");
  find(api.algo_check, "cublasLtMatmulAlgoCheck");
  find(api.algo_capability, "cublasLtMatmulAlgoCapGetAttribute");
  find(api.algo_set, "cublasLtMatmulAlgoConfigSetAttribute");
  find(api.algo_get, "cublasLtMatmulAlgoConfigGetAttribute");
  return api;
}

std::vector<std::uint32_t> capability(const LtAlgo& algo, cublasLtMatmulAlgoCapAttributes_t which) {
  std::size_t bytes = 0;
  if (lt().algo_capability(&algo.algo, which, nullptr, 0, &bytes) != CUBLAS_STATUS_SUCCESS || bytes == 0)
    return {0};
  std::vector<std::uint32_t> ids(bytes / sizeof(std::uint32_t));
  lt_check(lt().algo_capability(&algo.algo, which, ids.data(), bytes, &bytes),
           "cublasLtMatmulAlgoCapGetAttribute");
  return ids;
}

template <typename T>
void get(const LtAlgo& algo, cublasLtMatmulAlgoConfigAttributes_t which, T& value) {
  std::size_t written = 0;
  lt().algo_get(&algo.algo, which, &value, sizeof value, &written);
}

template <typename T>
bool set(LtAlgo& algo, cublasLtMatmulAlgoConfigAttributes_t which, T value) {
  return lt().algo_set(&algo.algo, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace

const LtApi& lt() {
  static const LtApi api = load();
  return api;
}

cublasLtHandle_t lt_handle() {
  // Lives as long as the process: each section is a process of its own.
  static const cublasLtHandle_t handle = [] {
    cublasLtHandle_t made = nullptr;
    lt_check(lt().create(&made), "cublasLtCreate");
    return made;
  }();
  return handle;
}

void lt_check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": cuBLAS status " +
                             std::to_string(static_cast<int>(status)));
  }
}

std::string LtAttributes::text() const {
  return "id " + std::to_string(id) + " tile " + std::to_string(tile) + " stages " + std::to_string(stages) +
         " cluster " + std::to_string(cluster) + " inner " + std::to_string(inner) + " swizzle " +
         std::to_string(swizzle) + " custom " + std::to_string(custom) + " split " + std::to_string(split_k) +
         " reduction " + std::to_string(reduction);
}

LtAttributes attributes(const LtAlgo& algo) {
  LtAttributes a;
  get(algo, CUBLASLT_ALGO_CONFIG_ID, a.id);
  get(algo, CUBLASLT_ALGO_CONFIG_TILE_ID, a.tile);
  get(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, a.split_k);
  get(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, a.reduction);
  get(algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, a.swizzle);
  get(algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, a.custom);
  get(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID, a.stages);
  get(algo, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, a.inner);
  get(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, a.cluster);
  return a;
}

LtProduct::LtProduct(std::int64_t m, std::int64_t n, std::int64_t k, LtOutput output, std::int64_t row)
    : output_(output == LtOutput::bf16 ? CUDA_R_16BF : CUDA_R_32F) {
  if (row == 0) row = k;
  lt_check(lt().desc_create(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  lt_check(lt().desc_set(desc_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed), "transpose A");
  const auto rows_w = static_cast<std::uint64_t>(n), rows_x = static_cast<std::uint64_t>(m);
  const auto columns = static_cast<std::uint64_t>(k);
  lt_check(lt().layout_create(&w_, CUDA_R_16BF, columns, rows_w, row), "layout of w");
  lt_check(lt().layout_create(&x_, CUDA_R_16BF, columns, rows_x, row), "layout of x");
  lt_check(lt().layout_create(&y_, output_, rows_w, rows_x, n), "layout of y");
}

LtProduct::~LtProduct() {
  if (y_ != nullptr) lt().layout_destroy(y_);
  if (x_ != nullptr) lt().layout_destroy(x_);
  if (w_ != nullptr) lt().layout_destroy(w_);
  if (desc_ != nullptr) lt().desc_destroy(desc_);
}

std::vector<LtAlgo> LtProduct::proposals(int count, bool plain) const {
  cublasLtMatmulPreference_t preference = nullptr;
  lt_check(lt().preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const std::uint64_t bytes = plain ? 0 : lt_workspace_bytes;
  lt().preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes);
  if (plain) {
    const std::uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    lt().preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none);
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(count));
  int returned = 0;
  const cublasStatus_t status =
      lt().heuristic(lt_handle(), desc_, w_, x_, y_, y_, preference, count, found.data(), &returned);
  lt().preference_destroy(preference);
  lt_check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<LtAlgo> result;
  for (int i = 0; i < returned; ++i) {
    const auto& each = found[static_cast<std::size_t>(i)];
    if (each.state == CUBLAS_STATUS_SUCCESS)
      result.push_back({each.algo, each.workspaceSize, each.wavesCount});
  }
  if (plain) std::erase_if(result, [](const LtAlgo& algo) { return attributes(algo).split_k > 1; });
  if (result.empty()) throw std::runtime_error("the heuristic proposes nothing");
  return result;
}

std::optional<LtAlgo> LtProduct::adapt(const LtAlgo& algo) const {
  cublasLtMatmulHeuristicResult_t result{};
  if (lt().algo_check(lt_handle(), desc_, w_, x_, y_, y_, &algo.algo, &result) != CUBLAS_STATUS_SUCCESS)
    return {};
  if (result.state != CUBLAS_STATUS_SUCCESS || result.workspaceSize > lt_workspace_bytes) return {};
  return LtAlgo{algo.algo, result.workspaceSize, result.wavesCount};
}

std::vector<LtAlgo> LtProduct::enumerate(int limit) const {
  std::array<int, 64> ids{};
  int count = 0;
  lt_check(lt().algo_ids(lt_handle(), CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF, output_,
                         output_, static_cast<int>(ids.size()), ids.data(), &count),
           "cublasLtMatmulAlgoGetIds");
  const std::array<std::uint16_t, 4> clusters = {CUBLASLT_CLUSTER_SHAPE_AUTO, CUBLASLT_CLUSTER_SHAPE_1x1x1,
                                                 CUBLASLT_CLUSTER_SHAPE_2x1x1, CUBLASLT_CLUSTER_SHAPE_1x2x1};
  std::vector<LtAlgo> result;
  for (int i = 0; i < count; ++i) {
    LtAlgo base;
    if (lt().algo_init(lt_handle(), CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF, output_,
                       output_, ids[static_cast<std::size_t>(i)], &base.algo) != CUBLAS_STATUS_SUCCESS) {
      continue;
    }
    // A few variants of each tile: the tiles are what may change the order of a sum.
    constexpr int most_of_a_tile = 3;
    int of_this_id = 0;
    for (const std::uint32_t tile : capability(base, CUBLASLT_ALGO_CAP_TILE_IDS)) {
      int of_this_tile = 0;
      for (const std::uint32_t stages : capability(base, CUBLASLT_ALGO_CAP_STAGES_IDS)) {
        for (const std::uint16_t cluster : clusters) {
          if (of_this_tile >= most_of_a_tile || of_this_id >= limit) break;
          LtAlgo algo = base;
          set(algo, CUBLASLT_ALGO_CONFIG_TILE_ID, tile);
          set(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID, stages);
          set(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, cluster);
          set(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, std::int32_t{1});
          set(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
          const auto usable = adapt(algo);
          if (!usable || usable->workspace_bytes != 0) continue;
          result.push_back(*usable);
          ++of_this_id;
          ++of_this_tile;
        }
      }
    }
  }
  return result;
}

void LtProduct::run(const LtAlgo& algo, const void* x, const void* w, void* y, float beta,
                    const DeviceBuffer& workspace, cudaStream_t stream) const {
  const float alpha = 1;
  lt_check(lt().matmul(lt_handle(), desc_, &alpha, w, w_, x, x_, &beta, y, y_, y, y_, &algo.algo,
                       workspace.data(), workspace.bytes(), stream),
           "cublasLtMatmul");
}

const std::vector<NamedProduct>& model_products() {
  static const std::vector<NamedProduct> products = {{"0.6B qkv", 4096, 1024},     {"0.6B o", 1024, 2048},
                                                     {"0.6B gate_up", 6144, 1024}, {"0.6B down", 1024, 3072},
                                                     {"4B qkv", 6144, 2560},       {"4B o", 2560, 4096},
                                                     {"4B gate_up", 19456, 2560},  {"4B down", 2560, 9728},
                                                     {"0.6B head", 151936, 1024},  {"4B head", 151936, 2560}};
  return products;
}

}  // namespace gpu_facts
