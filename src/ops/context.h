// What an operation runs with: the device, its threads, and the numeric mode it must keep. Passed down, never
// global.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace rlcpp::ops {

namespace cpu {
struct Kernels;
}
namespace cuda {
class Runtime;
}
struct CallLog;

// docs/numerics.md. exact: every forward sum has one fixed order that does not depend on batch, packing,
// chunking, padding or threads, and the same code serves trainer and engine. fast: deterministic from run to
// run, no more. The CPU knows only exact; a GPU runs fast unless it is asked for exact.
enum class NumericMode : std::uint8_t { kExact, kFast };

struct Context {
  Device device;
  NumericMode mode = NumericMode::kExact;
  ThreadPool* pool = nullptr;             // never null once made by make_context
  const cpu::Kernels* kernels = nullptr;  // the inner loops of the CPU; null: the best of this processor
  std::shared_ptr<cuda::Runtime> cuda;    // stream, library handles and workspace of a GPU; null on the CPU
  CallLog* calls = nullptr;               // where calls are written down (ops/calls.h); null: nowhere

  bool on_gpu() const { return device.kind == DeviceKind::kCuda; }
  // The element type of activations and of the weights that operations read: f32 on the CPU, bf16 on CUDA.
  // Statistics (rstd, lse, log-probabilities), logits and gradients of weights are f32 on both.
  DType compute_type() const { return on_gpu() ? DType::kBF16 : DType::kF32; }
};

// The mode of a device that is asked for none.
NumericMode default_mode(Device device);

// The pool outlives the context. Throws environment_error if the device is a GPU and this build has no CUDA.
// `mode`: none is the device's default_mode(); the CPU's is its only one; exact on a GPU needs
// exact_attention() (ops/attention.h).
Context make_context(Device device, ThreadPool& pool, std::optional<NumericMode> mode = {});

// A context to plan with, for a GPU that need not be here: no operation runs in it. What only the GPU's
// libraries know is estimated (ops/workspace.h).
Context planning_context(Device device, ThreadPool& pool, std::optional<NumericMode> mode = {});

// The stream of the context's operations, a cudaStream_t; null on the CPU. For what orders itself against
// them.
void* stream_handle(const Context& ctx);

// Returns when the device has done everything that was asked of it so far. At once on the CPU. Throws
// runtime_failure with the name of the CUDA error if something failed.
void synchronize(const Context& ctx);

// The vector extensions that CPU operations use on this machine: "avx512", "avx2" or "portable". Results are
// the same bits with each.
std::string instruction_set();

}  // namespace rlcpp::ops
