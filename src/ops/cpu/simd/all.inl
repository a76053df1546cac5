// The operations on top of a logical vector, each file using those before it.
// clang-format off
#include "ops/cpu/simd/math.inl"
#include "ops/cpu/simd/product.inl"
#include "ops/cpu/simd/rows.inl"
#include "ops/cpu/simd/rope.inl"
#include "ops/cpu/simd/attention.inl"
#include "ops/cpu/simd/attention_backward.inl"
#include "ops/cpu/simd/optimizer.inl"
// clang-format on
