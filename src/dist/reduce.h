// Sums and maxima over ranks in rank order, for carriers on the CPU.
#pragma once

#include <cstdint>
#include <span>

#include "dist/entry.h"

namespace rlcpp::dist {

// Element i of every output = in[0][i] + in[1][i] + ... (or the maximum), for i in [begin, begin + count).
// f32, f64 and i64 in their own type (i64 wraps), bf16 in f32 with one rounding. An output may be one of the
// inputs.
void reduce_in_order(DType type, Reduction reduction, std::span<void* const> outs,
                     std::span<const void* const> ins, std::int64_t begin, std::int64_t count);

}  // namespace rlcpp::dist
