// What an operation runs with: the device, its threads, and the numeric mode it must keep. Passed down, never
// global.
#pragma once

#include <cstdint>
#include <string>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace rlcpp::ops {

namespace cpu {
struct Kernels;
}

// docs/numerics.md. exact: every forward sum has one fixed order that does not depend on batch, packing,
// chunking, padding or threads, and the same code serves trainer and engine. fast: deterministic from run to
// run, no more. The CPU knows only exact.
enum class NumericMode : std::uint8_t { kExact, kFast };

struct Context {
  Device device;
  NumericMode mode = NumericMode::kExact;
  ThreadPool* pool = nullptr;             // never null once made by make_context
  const cpu::Kernels* kernels = nullptr;  // the inner loops of the CPU; null: the best of this processor
};

// The pool outlives the context.
Context make_context(Device device, ThreadPool& pool);

// The vector extensions that CPU operations use on this machine: "avx512", "avx2" or "portable". Results are
// the same bits with each.
std::string instruction_set();

}  // namespace rlcpp::ops
