// A logical vector of 16 floats in plain C++: the meaning that the AVX2 and AVX-512 forms keep to the last
// bit. Included inside the unnamed namespace of kernels_portable.cpp. It runs on any processor and defines
// the results.

struct F16 {
  float v[16];
};
struct I16 {
  std::int32_t v[16];
};

inline constexpr const char* kSetName = "portable";
inline constexpr int kMaxRows = 4;
inline constexpr int kInterleave = 4;  // places of one step of a block of transposed A
inline constexpr int kFewRows = 1;     // up to so many rows go over kFewPanels panels at once:
inline constexpr int kFewPanels = 1;   // one panel would leave the adders waiting for each other
inline constexpr int kVectorsWide = 1;

template <class Function>
inline F16 each(Function f) {
  F16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}
template <class Function>
inline I16 each_int(Function f) {
  I16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}

inline F16 set1(float x) {
  return each([&](int) { return x; });
}
inline F16 zero() {
  return set1(0.0F);
}
inline F16 load(const float* p) {
  return each([&](int i) { return p[i]; });
}
// The first n lanes from memory, 0 in the others, whose memory is not touched.
inline F16 load_first(const float* p, std::int64_t n) {
  return each([&](int i) { return i < n ? p[i] : 0.0F; });
}
inline void store(float* p, F16 a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
inline void store_first(float* p, F16 a, std::int64_t n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
// The first n lanes of a; 0 (or the lane of `other`) in the rest.
inline F16 keep_first(F16 a, std::int64_t n) {
  return each([&](int i) { return i < n ? a.v[i] : 0.0F; });
}
inline F16 keep_first_or(F16 a, std::int64_t n, F16 other) {
  return each([&](int i) { return i < n ? a.v[i] : other.v[i]; });
}

inline F16 add(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline F16 sub(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline F16 mul(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline F16 div(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
// a b + c and a b - c with one rounding.
inline F16 fma(F16 a, F16 b, F16 c) {
  return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
inline F16 fms(F16 a, F16 b, F16 c) {
  return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], -c.v[i]); });
}
// As x86 has them: the second operand if either is NaN.
inline F16 vmin(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F16 vmax(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F16 vsqrt(F16 a) {
  return each([&](int i) { return __builtin_sqrtf(a.v[i]); });
}

inline I16 bits_of(F16 a) {
  return __builtin_bit_cast(I16, a);
}
inline F16 float_of(I16 a) {
  return __builtin_bit_cast(F16, a);
}
inline I16 set1_int(std::int32_t x) {
  return each_int([&](int) { return x; });
}
inline I16 add(I16 a, I16 b) {
  return each_int([&](int i) { return a.v[i] + b.v[i]; });
}
inline I16 sub(I16 a, I16 b) {
  return each_int([&](int i) { return a.v[i] - b.v[i]; });
}
inline I16 shift_left_23(I16 a) {
  return each_int([&](int i) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a.v[i]) << 23); });
}
inline I16 shift_right_1(I16 a) {
  return each_int([&](int i) { return a.v[i] >> 1; });
}

// Halves are added to each other until one lane is left: ((0 + 8) + (4 + 12)) + ((2 + 10) + (6 + 14)) and so
// on.
inline float reduce_add(F16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] + a.v[i + half];
  }
  return a.v[0];
}
inline float reduce_max(F16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
  }
  return a.v[0];
}

// to[c * to_stride + r] = from[r * from_stride + c] for r, c in [0, 16).
inline void transpose_16x16(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride) {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}
