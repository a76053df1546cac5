#include "ops/cpu/kernels.h"

#include <array>

namespace rlcpp::ops::cpu {
namespace {

struct Available {
  std::array<const Kernels*, 3> tables = {};
  std::size_t count = 0;
};

Available detect() {
  Available found;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.tables[found.count++] = &avx512_kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    found.tables[found.count++] = &avx2_kernels();
#endif
  found.tables[found.count++] = &portable_kernels();
  return found;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const Available found = detect();
  return {found.tables.data(), found.count};
}

const Kernels& best_kernels() {
  return *available_kernels().front();
}

}  // namespace rlcpp::ops::cpu
