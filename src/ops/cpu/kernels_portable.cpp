// The kernels for any processor (flags: ops/Kernels.cmake). Everything is in the unnamed namespace, and
// nothing of the standard library is called that could be shared with other files: code compiled with these
// flags must not leak into them.
#include <cstdint>
#include <utility>

#include "ops/cpu/kernels.h"

namespace rlcpp::ops::cpu {
namespace {

#include "ops/cpu/simd/portable.inl"

#include "ops/cpu/simd/all.inl"

constexpr Kernels kTable =
#include "ops/cpu/simd/table.inl"
    ;

}  // namespace

const Kernels& portable_kernels() {
  return kTable;
}

}  // namespace rlcpp::ops::cpu
