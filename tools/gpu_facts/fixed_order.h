// y = x w^T in bf16 with f32 accumulation in one fixed order: every output is one chain of additions over k
// in steps of 16, in one thread, whatever M is. A floor for what such a product costs, not the fastest
// possible kernel.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace gpu_facts {

enum class FixedOrder {
  mma,    // mma.sync m16n8k16; tiles of 16, 64 or 128 rows chosen by M
  wgmma,  // wgmma m64n128k16, tiles of 128 x 128
};

// x [m, k], w [n, k], y [m, n], row-major bf16. n must be a multiple of 128 and k of 64.
void fixed_order_product(FixedOrder kind, const void* x, const void* w, void* y, std::int64_t m,
                         std::int64_t n, std::int64_t k, cudaStream_t stream);

}  // namespace gpu_facts
