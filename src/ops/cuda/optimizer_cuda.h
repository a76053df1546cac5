// Scratch of the optimizer's operations.
#pragma once

#include <cstddef>

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

// Blocks of 4096 elements whose sums of squares are kept at a time: 1 GiB of gradients between two additions
// of the sums. However large the model is, no more is needed.
constexpr std::int64_t kSumPartials = 65536;

// What sum_of_squares and all_finite lay out in their scratch.
struct OptimizerScratch {
  double* partials;  // [kSumPartials]
  double* total;
  int* bad;
  std::size_t bytes;

  explicit OptimizerScratch(void* base) {
    ScratchLayout layout(base);
    partials = layout.take<double>(kSumPartials);
    total = layout.take<double>(1);
    bad = layout.take<int>(1);
    bytes = layout.bytes();
  }
};

inline std::size_t optimizer_scratch() {
  return OptimizerScratch(nullptr).bytes;
}

}  // namespace rlcpp::ops::cuda
