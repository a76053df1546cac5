#include "ops/cuda/matmul_plans.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "ops/cuda/matmul_timing.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

// How many of the heuristic's proposals are measured. They come best first by its own estimate.
constexpr std::size_t kMostPlans = 4096;
constexpr int kProposals = 16;               // asked of the heuristic, and measured when tuning
constexpr int kExactProposals = 400;         // of which the first kProposals that are exact are measured
constexpr std::int32_t kHopperKernels = 66;  // cuBLASLt's id of its wgmma kernels

// The largest power of two up to 16 that divides the address and the distance between rows.
std::uint32_t operand_alignment(const void* pointer, std::size_t row_bytes) {
  const auto bits = reinterpret_cast<std::uintptr_t>(pointer) | row_bytes | 16U;
  return 1U << std::countr_zero(bits);
}

// What the library may use of the products' scratch.
std::size_t workspace_of(std::int64_t batch) {
  return batch == 1 ? kProductWorkspace : kProductWorkspace - kBatchResults;
}

cudaDataType library_type(DType type) {
  return type == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
}

// y = x w^T: gradients need not be the same whatever the batch is. Mode exact has no products in FP8.
bool is_forward(const ProductKey& key) {
  return !key.transpose_a && key.transpose_b && !key.fp8;
}

}  // namespace

std::string ProductKey::text() const {
  return fmt::format("{}{} m {} n {} k {} lda {} ldb {} {}{} align {} {} {} {}{}{}{}",
                     transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, lda, ldb,
                     f32_out ? "f32" : "bf16", bias ? " bias" : "", align_a, align_b, align_out, align_bias,
                     batch == 1 ? "" : fmt::format(" batch {}", batch), fp8 ? " e4m3" : "",
                     quick ? " quick" : "");
}

ProductKey ProductKey::rounded() const {
  const auto up = [](std::int64_t size) {
    const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(size)));
    const std::int64_t step = std::int64_t{1} << std::max(bits - 4, 0);
    return (size + step - 1) / step * step;
  };
  ProductKey key = *this;
  key.m = up(m);
  key.n = up(n);
  key.k = up(k);
  return key;
}

ProductKey key_of(const ProductCall& call) {
  ProductKey key;
  key.m = call.m;
  key.n = call.n;
  key.k = call.k;
  key.lda = call.lda;
  key.ldb = call.ldb;
  key.batch = call.batch;
  key.transpose_a = call.transpose_a;
  key.transpose_b = call.transpose_b;
  key.f32_out = call.out_type == DType::kF32;
  key.bias = call.bias != nullptr;
  key.fp8 = call.fp8.has_value();
  key.quick = key.fp8 && call.fp8->quick;
  const std::size_t in = key.fp8 ? 1 : size_of(DType::kBF16);
  key.align_a = operand_alignment(call.a, static_cast<std::size_t>(call.lda) * in);
  key.align_b = operand_alignment(call.b, static_cast<std::size_t>(call.ldb) * in);
  key.align_out = operand_alignment(call.out, static_cast<std::size_t>(call.n) * size_of(call.out_type));
  if (key.bias) key.align_bias = operand_alignment(call.bias, 0);
  return key;
}

ProductPlans::ProductPlans(Runtime& runtime) : runtime_(runtime), handle_(make_handle(lt_)) {
  cudaDeviceProp properties{};
  rlcpp::cuda::check(cudaGetDeviceProperties(&properties, runtime.device().index), "cudaGetDeviceProperties");
  place_.gpu = properties.name;
  place_.multiprocessors = properties.multiProcessorCount;
  place_.cublaslt = lt_.get_version();
  rlcpp::cuda::check(cudaDriverGetVersion(&place_.driver), "cudaDriverGetVersion");
  set_directory(default_algorithm_directory());
}

ProductPlans::~ProductPlans() = default;

void ProductPlans::set_directory(const std::string& directory) {
  plans_.clear();
  measured_.clear();
  file_ = directory.empty() ? std::string() : directory + "/" + algorithm_file_name(place_);
  if (file_.empty()) return;
  LoadedAlgorithms loaded = load_algorithms(file_, place_);
  measured_ = std::move(loaded.table);
  if (!loaded.warning.empty()) warnings_.push_back(std::move(loaded.warning));
}

std::vector<std::string> ProductPlans::take_warnings() {
  return std::exchange(warnings_, {});
}

std::string ProductPlans::library_version() const {
  const std::size_t v = place_.cublaslt;
  return fmt::format("{} {}.{}.{}", lt_.name(), v / 10000, v / 100 % 100, v % 100);
}

void ProductPlans::run(const ProductCall& call) {
  if (call.m == 0 || call.n == 0) return;
  if (call.k == 0) {
    RLCPP_CHECK(call.bias == nullptr);
    const std::size_t bytes =
        static_cast<std::size_t>(call.m) * static_cast<std::size_t>(call.n) * size_of(call.out_type);
    if (!call.accumulate) {
      rlcpp::cuda::check(cudaMemsetAsync(call.out, 0, bytes, runtime_.stream()), "cudaMemsetAsync");
    }
    return;
  }
  RLCPP_CHECK(call.bias == nullptr || call.out_type == DType::kBF16);
  if (call.batch > 1) {
    const auto results = static_cast<std::size_t>(call.batch * call.m * call.n) * size_of(call.out_type);
    RLCPP_CHECK(call.transpose_a && !call.transpose_b && call.bias == nullptr && !call.accumulate);
    RLCPP_CHECK(call.out == batch_results() && results <= kBatchResults);
  }
  const ProductKey key = key_of(call);
  Plan& plan = plan_of(key);
  if (tuning_ && !plan.settled) tune(key, plan, call);
  const cublasStatus_t status = launch(plan, plan.algorithm, call, call.out);
  if (status != CUBLAS_STATUS_SUCCESS) lt_.check(status, ("cublasLtMatmul " + key.text()).c_str());
}

void* ProductPlans::batch_results() const {
  auto* scratch = static_cast<std::byte*>(runtime_.scratch(kProductWorkspace, "a product"));
  return scratch + (kProductWorkspace - kBatchResults);
}

ProductPlans::Plan& ProductPlans::plan_of(const ProductKey& key) {
  if (const auto known = plans_.find(key); known != plans_.end()) return known->second;
  if (plans_.size() >= kMostPlans) plans_.clear();  // a long run meets every number of tokens
  Plan plan = describe(key);
  if (!take_measured(key, plan)) plan.algorithm = proposals(key, plan).front();
  return plans_.emplace(key, std::move(plan)).first->second;
}

// cuBLASLt's matrices are column-major: a row-major [r, c] matrix is to it the transposed one, [c, r], whose
// columns are our rows. So out = op(a) op(b) is asked for as out^T = op(b)^T op(a)^T: the operands change
// places, each keeps its transpose flag, and no value moves. out^T is n x m, so a bias with one value an
// output feature runs along its rows, as the library's epilogue wants.
ProductPlans::Plan ProductPlans::describe(const ProductKey& key) const {
  const auto layout = [&](bool transposed, std::int64_t inner, std::int64_t outer, std::int64_t leading) {
    if (transposed) std::swap(inner, outer);
    return make_layout(lt_, key.fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF, inner, outer, leading);
  };
  Plan plan{make_product(lt_), layout(key.transpose_b, key.n, key.k, key.ldb),
            layout(key.transpose_a, key.k, key.m, key.lda),
            make_layout(lt_, library_type(key.f32_out ? DType::kF32 : DType::kBF16), key.n, key.m, key.n)};
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    lt_.check(lt_.product_set(plan.product.get(), attribute, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
  };
  if (key.batch > 1) {
    set_batch(lt_, plan.a, key.batch, key.k * key.ldb);
    set_batch(lt_, plan.b, key.batch, key.k * key.lda);
    set_batch(lt_, plan.out, key.batch, key.m * key.n);
  }
  const std::int32_t first = key.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const std::int32_t second = key.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  set(CUBLASLT_MATMUL_DESC_TRANSA, first);
  set(CUBLASLT_MATMUL_DESC_TRANSB, second);
  if (key.fp8) {
    const std::int8_t quick = key.quick ? 1 : 0;
    set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, quick);
    // Scales change no choice, but without an address the library takes none to be there.
    const auto any = reinterpret_cast<const float*>(std::uintptr_t{16});
    set_scales(plan, {any, any});
  }
  if (key.bias) {
    const std::uint32_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    // The heuristic reads the alignment off the address and nothing else. One with exactly the key's
    // alignment keeps the choice a function of the key.
    set_bias(plan, reinterpret_cast<const void*>(std::uintptr_t{key.align_bias}));
  }
  return plan;
}

void ProductPlans::set_bias(const Plan& plan, const void* bias) const {
  lt_.check(lt_.product_set(plan.product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias),
            "cublasLtMatmulDescSetAttribute");
}

void ProductPlans::set_scales(const Plan& plan, const Fp8Operands& operands) const {
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const float* scale) {
    lt_.check(lt_.product_set(plan.product.get(), attribute, &scale, sizeof scale),
              "cublasLtMatmulDescSetAttribute");
  };
  set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.scale_b);  // the operands change places
  set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.scale_a);
}

bool ProductPlans::has_one_order(const cublasLtMatmulAlgo_t& algorithm) const {
  std::int32_t id = -1;
  std::size_t written = 0;
  lt_.check(lt_.algorithm_get(&algorithm, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, &written),
            "cublasLtMatmulAlgoConfigGetAttribute");
  return id == kHopperKernels;
}

// The heuristic's proposals that we may use, in its order, at least one.
std::vector<cublasLtMatmulAlgo_t> ProductPlans::proposals(const ProductKey& key, const Plan& plan) const {
  const LtPreference preference = make_preference(lt_);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    lt_.check(lt_.preference_set(preference.get(), attribute, &value, sizeof value),
              "cublasLtMatmulPreferenceSetAttribute");
  };
  const std::size_t workspace = workspace_of(key.batch);
  const std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_b);  // the operands change places
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_a);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_out);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_out);

  const bool exact = exact_ && is_forward(key);
  const int wanted = exact ? kExactProposals : kProposals;
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(wanted));
  int found = 0;
  const cublasStatus_t status =
      lt_.heuristic(handle_.get(), plan.product.get(), plan.a.get(), plan.b.get(), plan.out.get(),
                    plan.out.get(), preference.get(), wanted, results.data(), &found);
  std::vector<cublasLtMatmulAlgo_t> usable;
  if (status == CUBLAS_STATUS_SUCCESS) {
    for (const auto& result : std::span(results).first(static_cast<std::size_t>(found))) {
      if (result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace) {
        usable.push_back(result.algo);
      }
    }
  }
  // The kernels of this id add over k in one order whatever their tile (docs/performance.md); others, above
  // all those for a single row, may round parts of a sum to bf16. Where there are such kernels, no others are
  // used, so tuning changes no bit.
  const auto others = std::ranges::stable_partition(
      usable, [&](const cublasLtMatmulAlgo_t& algorithm) { return has_one_order(algorithm); });
  if (others.begin() != usable.begin() || exact) usable.erase(others.begin(), others.end());
  if (usable.size() > kProposals) usable.resize(kProposals);
  if (exact && usable.empty()) {
    throw runtime_failure("cuBLASLt has no algorithm with one order of sums for the product " + key.text(),
                          "mode exact uses its wgmma kernels alone", "use numeric_mode fast");
  }
  if (!usable.empty()) return usable;
  throw runtime_failure(
      "cuBLASLt has no algorithm for the product " + key.text(),
      fmt::format("{} says {}", library_version(), lt_.status_name(status)),
      "run with CUBLASLT_LOG_LEVEL=1 in the environment to see its reason, and report this");
}

// The algorithm that the file names for this product, if the library still takes it.
bool ProductPlans::take_measured(const ProductKey& key, Plan& plan) {
  const auto entry = measured_.find(key.rounded().text());
  if (entry == measured_.end()) return false;
  cublasLtMatmulAlgo_t algorithm;
  static_assert(sizeof algorithm.data == sizeof(AlgorithmBits));
  std::copy(entry->second.begin(), entry->second.end(), algorithm.data);
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status =
      lt_.check_algorithm(handle_.get(), plan.product.get(), plan.a.get(), plan.b.get(), plan.out.get(),
                          plan.out.get(), &algorithm, &result);
  if (exact_ && is_forward(key) && !has_one_order(algorithm)) return false;
  if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > workspace_of(key.batch)) {
    warnings_.push_back(fmt::format("{}: the algorithm of product {} is ignored: {} does not take it", file_,
                                    entry->first, library_version()));
    measured_.erase(entry);
    return false;
  }
  plan.algorithm = algorithm;
  plan.settled = true;
  return true;
}

cublasStatus_t ProductPlans::launch(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm,
                                    const ProductCall& call, void* to) const {
  if (call.bias != nullptr) set_bias(plan, call.bias);
  if (call.fp8.has_value()) set_scales(plan, *call.fp8);
  const float alpha = 1.0F;
  const float beta = call.accumulate ? 1.0F : 0.0F;
  return lt_.matmul(handle_.get(), plan.product.get(), &alpha, call.b, plan.a.get(), call.a, plan.b.get(),
                    &beta, call.out, plan.out.get(), to, plan.out.get(), &algorithm,
                    runtime_.scratch(kProductWorkspace, "a product"), workspace_of(call.batch),
                    runtime_.stream());
}

// Measures the proposals on the real operands. An output that is about to be overwritten may be written to as
// often as we like; one that is added to is read only, and the results go into memory of their own.
void ProductPlans::tune(const ProductKey& key, Plan& plan, const ProductCall& call) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  rlcpp::cuda::check(cudaStreamIsCapturing(runtime_.stream(), &capture), "cudaStreamIsCapturing");
  if (capture != cudaStreamCaptureStatusNone) return;
  plan.settled = true;
  const std::size_t bytes =
      static_cast<std::size_t>(call.m) * static_cast<std::size_t>(call.n) * size_of(call.out_type);
  const TrialOutput trial(call.accumulate ? bytes : 0);
  void* to = call.accumulate ? trial.get() : call.out;
  if (to == nullptr) {
    warnings_.push_back("no memory to measure the product " + key.text() + ": it keeps its first choice");
    return;
  }
  const std::vector<cublasLtMatmulAlgo_t> all = proposals(key, plan);
  const auto run_one = [&](std::size_t i) { return launch(plan, all[i], call, to) == CUBLAS_STATUS_SUCCESS; };
  plan.algorithm = all[fastest(all.size(), run_one, runtime_.stream())];
  keep(key, plan);
}

// Adds the choice to the file. Another rank may have been there first: its choice counts then, so that both
// compute the same bits from now on.
void ProductPlans::keep(const ProductKey& key, Plan& plan) {
  AlgorithmBits bits;
  std::copy(std::begin(plan.algorithm.data), std::end(plan.algorithm.data), bits.begin());
  measured_[key.rounded().text()] = bits;
  if (file_.empty()) return;
  try {
    LoadedAlgorithms others = load_algorithms(file_, place_);
    others.table.merge(measured_);  // what is there already stays
    measured_ = std::move(others.table);
    save_algorithms(file_, place_, measured_);
  } catch (const Error& refused) {
    warnings_.push_back(std::string("the algorithms of products are not kept: ") + refused.what());
  }
  take_measured(key, plan);
}

}  // namespace rlcpp::ops::cuda
