// A logical vector of 16 floats on AVX-512. Included inside the unnamed namespace of kernels_avx512.cpp.
// Every set offers the same functions with the same results to the last bit: see simd/portable.inl for their
// meaning.

struct F16 {
  __m512 v;
};
struct I16 {
  __m512i v;
};

inline constexpr const char* kSetName = "avx512";
inline constexpr int kMaxRows =
    14;  // 14 x 2 accumulators, two vectors of B, two broadcasts: the 32 registers
inline constexpr int kInterleave = 16;  // places of one step of a block of transposed A
inline constexpr int kFewRows = 3;      // up to so many rows go over kFewPanels panels at once:
inline constexpr int kFewPanels = 4;    // one panel would leave the adders waiting for each other
inline constexpr int kVectorsWide = 2;  // vectors of B that the product kernel keeps per step

inline __mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1U << n) - 1U);
}

inline F16 zero() {
  return {_mm512_setzero_ps()};
}
inline F16 set1(float x) {
  return {_mm512_set1_ps(x)};
}
inline F16 load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline F16 load_first(const float* p, std::int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
inline void store(float* p, F16 a) {
  _mm512_storeu_ps(p, a.v);
}
inline void store_first(float* p, F16 a, std::int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}
inline F16 keep_first(F16 a, std::int64_t n) {
  return {_mm512_maskz_mov_ps(first_lanes(n), a.v)};
}
inline F16 keep_first_or(F16 a, std::int64_t n, F16 other) {
  return {_mm512_mask_mov_ps(other.v, first_lanes(n), a.v)};
}

inline F16 add(F16 a, F16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline F16 sub(F16 a, F16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline F16 mul(F16 a, F16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline F16 div(F16 a, F16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline F16 fms(F16 a, F16 b, F16 c) {
  return {_mm512_fmsub_ps(a.v, b.v, c.v)};
}
inline F16 vmin(F16 a, F16 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline F16 vmax(F16 a, F16 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline F16 vsqrt(F16 a) {
  return {_mm512_sqrt_ps(a.v)};
}

inline I16 bits_of(F16 a) {
  return {_mm512_castps_si512(a.v)};
}
inline F16 float_of(I16 a) {
  return {_mm512_castsi512_ps(a.v)};
}
inline I16 set1_int(std::int32_t x) {
  return {_mm512_set1_epi32(x)};
}
inline I16 add(I16 a, I16 b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline I16 sub(I16 a, I16 b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
inline I16 shift_left_23(I16 a) {
  return {_mm512_slli_epi32(a.v, 23)};
}
inline I16 shift_right_1(I16 a) {
  return {_mm512_srai_epi32(a.v, 1)};
}

inline __m256 upper_half(__m512 v) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

inline float reduce_add(F16 a) {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), upper_half(a.v));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

inline float reduce_max(F16 a) {
  const __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a.v), upper_half(a.v));
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

// to[c * to_stride + r] = from[r * from_stride + c] for r, c in [0, 16).
inline void transpose_16x16(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride) {
  __m512 r[16];
  __m512 t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * from_stride);
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 2])));
    r[4 * i + 1] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 2])));
    r[4 * i + 2] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[4 * i + 1]), _mm512_castps_pd(t[4 * i + 3])));
    r[4 * i + 3] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[4 * i + 1]), _mm512_castps_pd(t[4 * i + 3])));
  }
  // Now r[4 i + j] holds, in its 128-bit quarter q, column 4 q + j of rows 4 i .. 4 i + 3.
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);  // quarters 0, 2 of rows 0-3, then of rows 4-7
    t[4 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);  // the same of rows 8-15
    t[8 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);       // quarters 1, 3
    t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
  }
  for (int j = 0; j < 4; ++j) {
    _mm512_storeu_ps(to + (j)*to_stride, _mm512_shuffle_f32x4(t[j], t[4 + j], 0x88));
    _mm512_storeu_ps(to + (8 + j) * to_stride, _mm512_shuffle_f32x4(t[j], t[4 + j], 0xdd));
    _mm512_storeu_ps(to + (4 + j) * to_stride, _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0x88));
    _mm512_storeu_ps(to + (12 + j) * to_stride, _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0xdd));
  }
}
