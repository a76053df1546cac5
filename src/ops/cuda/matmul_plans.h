// Which cuBLASLt algorithm each product takes, and the descriptors that the library wants to see, made once a
// shape. The choice is what bits depend on, so it has rules:
// - It is a function of the key below, of the libraries and of the GPU; not of addresses, of free memory, of
//   other shapes or of time.
// - Without a measured entry in the algorithms' file it is the first that the library's heuristic proposes.
//   Only tuning measures, and what it finds goes into the file; later runs read it.
// - The library never cuts the sum over k into parts: cut sums have another order, and some of the ways round
// parts to bf16. Where it has to be cut, linear_backward_weight() does it, by the shape alone, and asks for
// the parts as a batch.
// - Measurements hold for all sizes that round to the same key. On Hopper they change no bit (see
// proposals()). One stream and one workspace a runtime, as cuBLAS asks of who wants the same bits at every
// run.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ops/cuda/cublaslt_library.h"
#include "ops/cuda/matmul_algorithms.h"
#include "ops/cuda/runtime_cuda.h"
#include "tensor/dtype.h"

namespace rlcpp::ops::cuda {

// Operands in e4m3 (ops/fp8.h): u8, a not transposed, b transposed, k and the strides multiples of 16.
struct Fp8Operands {
  const float* scale_a = nullptr;  // on the device
  const float* scale_b = nullptr;
  bool quick = false;  // all of k is added by the instruction's own sum
};

// out [m, n] (+)= op(a) op(b) (+ bias [n]), everything row-major; a, b and bias are bf16, out is bf16 or f32
// (a bias needs a bf16 out and k > 0). lda and ldb: elements from one stored row to the next.
struct ProductCall {
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  std::int64_t lda = 0;
  bool transpose_a = false;  // a is stored [k, m]
  const void* b = nullptr;
  std::int64_t ldb = 0;
  bool transpose_b = false;  // b is stored [n, k]
  void* out = nullptr;       // rows are n apart
  DType out_type = DType::kBF16;
  const void* bias = nullptr;
  bool accumulate = false;
  // So many products of this shape: operands k stored rows apart (both are stored by k: a transposed, b not),
  // results m * n elements apart. Then the results lie in the second half of the products' scratch
  // (batch_results()), without bias or accumulate.
  std::int64_t batch = 1;
  std::optional<Fp8Operands> fp8;  // a and b are of eight bits
};

// The products' scratch, of which a batch leaves the library one half.
constexpr std::size_t kBatchResults = kProductWorkspace / 2;

// What an algorithm is chosen by. accumulate is not in it: the first micro-batch, which overwrites, and the
// others, which add, take the same one.
struct ProductKey {
  std::int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, batch = 1;
  bool transpose_a = false, transpose_b = false, f32_out = false, bias = false;
  bool fp8 = false, quick = false;
  // Bytes; 16 stands for everything above, since no instruction asks for more.
  std::uint32_t align_a = 16, align_b = 16, align_out = 16, align_bias = 16;

  auto operator<=>(const ProductKey&) const = default;
  std::string text() const;
  // With m, n and k rounded up to eight steps an octave: the number of tokens differs from row to row, and
  // what is fastest for one is for its neighbours.
  ProductKey rounded() const;
};
ProductKey key_of(const ProductCall& call);

class ProductPlans {
 public:
  // Loads cuBLASLt, and the algorithms' file of this GPU from the default directory. Throws environment_error
  // without the library. The runtime's device is current.
  explicit ProductPlans(Runtime& runtime);
  ~ProductPlans();
  ProductPlans(const ProductPlans&) = delete;
  ProductPlans& operator=(const ProductPlans&) = delete;

  // Queues the product. m = 0 or n = 0: nothing; k = 0: out becomes 0, or is left alone with
  // accumulate. The first call of a shape makes its plan on the host; every call takes
  // kProductWorkspace bytes of scratch. Can be captured into a graph. Throws runtime_failure if the library
  // has no algorithm or refuses.
  void run(const ProductCall& call);
  // Where the results of a batch go: kBatchResults bytes, until the next operation but the one that adds
  // them.
  void* batch_results() const;

  // Off by default. On: the first call of a shape without a measured entry runs the heuristic's first
  // proposals on the real operands, keeps the fastest, and writes it to the file; the host waits, so never
  // inside a capture (there the plan stays the first proposal). Ranks and runs that must agree in bits: tune
  // first, then start them with tuning off.
  void set_tuning(bool on) { tuning_ = on; }
  // Only algorithms that add over k in one order whatever the other rows (mode exact). Before the first
  // product.
  void set_exact(bool on) { exact_ = on; }

  // Reads the algorithms' file of this GPU in `directory`, and writes there when tuning; empty: neither.
  // Plans made so far are forgotten, so call it before the first product.
  void set_directory(const std::string& directory);
  const std::string& file() const { return file_; }

  // What went wrong without stopping anything since the last call: a file that cannot be used or written. One
  // sentence each.
  std::vector<std::string> take_warnings();

  std::string library_version() const;  // "libcublasLt.so.13 13.0.2"

 private:
  struct Plan {
    LtProduct product;
    LtLayout a, b, out;
    cublasLtMatmulAlgo_t algorithm{};
    bool settled = false;  // measured here or in the file, or cannot be measured
  };
  Plan& plan_of(const ProductKey& key);
  Plan describe(const ProductKey& key) const;
  std::vector<cublasLtMatmulAlgo_t> proposals(const ProductKey& key, const Plan& plan) const;
  bool has_one_order(const cublasLtMatmulAlgo_t& algorithm) const;
  bool take_measured(const ProductKey& key, Plan& plan);
  void tune(const ProductKey& key, Plan& plan, const ProductCall& call);
  void keep(const ProductKey& key, Plan& plan);
  void set_bias(const Plan& plan, const void* bias) const;
  void set_scales(const Plan& plan, const Fp8Operands& operands) const;
  cublasStatus_t launch(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const ProductCall& call,
                        void* to) const;

  Runtime& runtime_;
  CublasLt lt_;
  LtHandle handle_;
  AlgorithmPlace place_;
  std::string file_;
  AlgorithmTable measured_;
  std::map<ProductKey, Plan> plans_;
  bool tuning_ = false, exact_ = false;
  std::vector<std::string> warnings_;
};

}  // namespace rlcpp::ops::cuda
