// Elementary functions on the logical vector: the same sequence of operations for every instruction set, so
// the same bits. Included after one of the sets.

// e^x. x = n ln 2 + r with |r| <= ln 2 / 2; the polynomial of e^r is that of Cephes' expf (S. Moshier). The
// scaling by 2^n is done in two steps, so that subnormal results and overflow to infinity come out right.
// Error below 1.25 ulp (tests/ops/math_test.cpp); NaN stays NaN.
inline F16 vexp(F16 x) {
  const F16 clamped = vmax(set1(-104.0F), vmin(set1(89.0F), x));
  const F16 shifter = set1(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const F16 shifted = fma(clamped, set1(1.44269504088896341F), shifter);
  const F16 n = sub(shifted, shifter);
  F16 r = fma(n, set1(-0.693359375F), clamped);
  r = fma(n, set1(2.12194440e-4F), r);
  F16 p = set1(1.9875691500e-4F);
  p = fma(p, r, set1(1.3981999507e-3F));
  p = fma(p, r, set1(8.3334519073e-3F));
  p = fma(p, r, set1(4.1665795894e-2F));
  p = fma(p, r, set1(1.6666665459e-1F));
  p = fma(p, r, set1(5.0000001201e-1F));
  p = fma(mul(r, r), p, r);
  p = add(p, set1(1.0F));
  const I16 exponent = sub(bits_of(shifted), bits_of(shifter));
  const I16 half = shift_right_1(exponent);
  const I16 bias = set1_int(127);
  const F16 scale1 = float_of(shift_left_23(add(half, bias)));
  const F16 scale2 = float_of(shift_left_23(add(sub(exponent, half), bias)));
  return mul(mul(p, scale1), scale2);
}

// 1 / (1 + e^-x).
inline F16 vsigmoid(F16 x) {
  return div(set1(1.0F), add(set1(1.0F), vexp(sub(zero(), x))));
}

// log in double, then one rounding: called once a row.
inline float log_of(float x) {
  return static_cast<float>(__builtin_log(static_cast<double>(x)));
}

// Four lanes-wide partial sums over a row: element i goes to partial (i / 16) mod 4, lane i mod 16. The order
// depends on the length alone.
struct Sum64 {
  F16 part[4] = {zero(), zero(), zero(), zero()};
  float total() const { return reduce_add(add(add(part[0], part[1]), add(part[2], part[3]))); }
};

// Calls step(partial index, offset, lanes) over a row of n; lanes is 16 but at the end.
template <class Step>
inline void for_lanes(std::int64_t n, Step step) {
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    step(0, i, std::int64_t{16});
    step(1, i + 16, std::int64_t{16});
    step(2, i + 32, std::int64_t{16});
    step(3, i + 48, std::int64_t{16});
  }
  for (int part = 0; i < n; i += 16, ++part) step(part, i, n - i < 16 ? n - i : std::int64_t{16});
}

inline F16 load_upto(const float* p, std::int64_t n) {
  return n == 16 ? load(p) : load_first(p, n);
}
inline void store_upto(float* p, F16 a, std::int64_t n) {
  if (n == 16) {
    store(p, a);
  } else {
    store_first(p, a, n);
  }
}
