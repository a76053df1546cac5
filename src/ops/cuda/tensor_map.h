// Maps that tell the copy engine of Hopper where a matrix lies.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace rlcpp::ops::cuda {

// Boxes of `box_rows` rows by 64 columns of a row-major bf16 matrix [rows, columns] without gaps, laid out in
// shared memory with the 128-byte swizzle; what lies outside the matrix arrives as zeros. `matrix` is 16-byte
// aligned and columns a multiple of 8. Throws runtime_failure with the driver's error.
CUtensorMap boxes_of(const void* matrix, std::int64_t rows, std::int64_t columns, int box_rows);

}  // namespace rlcpp::ops::cuda
