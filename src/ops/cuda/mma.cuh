// The tensor cores' product of a warp, as PTX has it (mma.sync, m16n8k16, bf16 with f32 sums; from sm_80 on).
#pragma once

#include <cstdint>

namespace rlcpp::ops::cuda {

// d [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane mod 4, the words of a lane are: a[i], row
// g + 8 (i mod 2), columns 2 t + 8 (i / 2) and the next; b0, b1, rows 2 t and 2 t + 8 and the next of column
// g; d[i], row g + 8 (i / 2), column 2 t + i mod 2.
__device__ inline void product_step(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace rlcpp::ops::cuda
