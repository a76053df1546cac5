// Eight consecutive values a thread: one 16-byte access of bf16, two of f32, computed in f32. Memory that is
// not 16-byte aligned, or rows whose length is no multiple of 8, takes the scalar path, in the same order.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <initializer_list>

namespace rlcpp::ops::cuda {

using bf16 = __nv_bfloat16;

constexpr int kVector = 8;

struct alignas(16) Float8 {
  float v[kVector];
  __device__ float& operator[](int i) { return v[i]; }
  __device__ float operator[](int i) const { return v[i]; }
};

// Host: true if rows of `columns` elements that start at these addresses can be read eight at a time. Null
// (an absent argument) does not count.
inline bool vectorisable(std::int64_t columns, std::initializer_list<const void*> addresses) {
  bool aligned = columns % kVector == 0;
  for (const void* address : addresses)
    aligned = aligned && reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  return aligned;
}

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(bf16 value) {
  return __bfloat162float(value);
}
template <class T>
__device__ T from_float(float value) {
  if constexpr (sizeof(T) == 4) {
    return value;
  } else {
    return __float2bfloat16_rn(value);
  }
}

// The value as bf16 would hold it (nearest, ties to even).
__device__ inline float rounded_to_bf16(float value) {
  return __bfloat162float(__float2bfloat16_rn(value));
}

// The two bf16 of a word; the lower half is the first in memory.
__device__ inline float2 unpack_bf16(std::uint32_t word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000U)};
}
__device__ inline std::uint32_t pack_bf16(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.x)) |
         (static_cast<std::uint32_t>(__bfloat16_as_ushort(pair.y)) << 16);
}

__device__ inline Float8 unpack(const uint4& words) {
  const float2 a = unpack_bf16(words.x), b = unpack_bf16(words.y);
  const float2 c = unpack_bf16(words.z), d = unpack_bf16(words.w);
  return {{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}
__device__ inline uint4 pack(const Float8& f) {
  return {pack_bf16(f[0], f[1]), pack_bf16(f[2], f[3]), pack_bf16(f[4], f[5]), pack_bf16(f[6], f[7])};
}

// p is 16-byte aligned.
__device__ inline Float8 load8(const bf16* p) {
  return unpack(*reinterpret_cast<const uint4*>(p));
}
__device__ inline Float8 load8(const float* p) {
  const float4 a = *reinterpret_cast<const float4*>(p);
  const float4 b = *reinterpret_cast<const float4*>(p + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
__device__ inline void store8(bf16* p, const Float8& f) {
  *reinterpret_cast<uint4*>(p) = pack(f);
}
__device__ inline void store8(float* p, const Float8& f) {
  *reinterpret_cast<float4*>(p) = {f[0], f[1], f[2], f[3]};
  *reinterpret_cast<float4*>(p + 4) = {f[4], f[5], f[6], f[7]};
}

// Any alignment: the first `count` values (at least 8: all, at most 0: none), the others 0.
template <class T>
__device__ Float8 load_upto(const T* p, std::int64_t count) {
  Float8 f;
#pragma unroll
  for (int i = 0; i < kVector; ++i) f[i] = i < count ? to_float(p[i]) : 0.0F;
  return f;
}
template <class T>
__device__ void store_upto(T* p, const Float8& f, std::int64_t count) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i < count) p[i] = from_float<T>(f[i]);
  }
}

// kAligned: all eight or, if count is not positive, none (count is a multiple of 8 less the place in the
// row).
template <bool kAligned, class T>
__device__ Float8 load_vector(const T* p, std::int64_t count) {
  if constexpr (!kAligned) return load_upto(p, count);
  if (count > 0) return load8(p);
  return {};
}
template <bool kAligned, class T>
__device__ void store_vector(T* p, const Float8& f, std::int64_t count) {
  if constexpr (!kAligned) {
    store_upto(p, f, count);
  } else if (count > 0) {
    store8(p, f);
  }
}

}  // namespace rlcpp::ops::cuda
