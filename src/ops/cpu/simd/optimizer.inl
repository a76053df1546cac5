// Flat parameters.

// Products of two floats are exact in double, so only the order of the additions matters: 16 lanes, then a
// tree.
double sum_of_squares(const float* g, std::int64_t n) {
  double lane[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int l = 0; l < 16; ++l) lane[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
  }
  for (int l = 0; i + l < n; ++l) lane[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
  for (int half = 8; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0];
}

void scale(float* g, std::int64_t n, float factor) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    store_upto(g + i, mul(load_upto(g + i, lanes), set1(factor)), lanes);
  });
}

// An exponent of all ones is an infinity or a NaN.
bool all_finite(const float* g, std::int64_t n) {
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, g[i]);
    bad |= (bits & 0x7f800000U) == 0x7f800000U ? 1U : 0U;
  }
  return bad == 0;
}

// The order of operations of torch.optim.AdamW (single tensor, float32).
void adamw(float* w, float* m, float* v, const float* g, std::int64_t n, const AdamWConstants& c) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    const F16 gradient = mul(load_upto(g + i, lanes), set1(c.gradient_scale));
    F16 weight = mul(load_upto(w + i, lanes), set1(c.decay));
    F16 first = load_upto(m + i, lanes);
    F16 second = load_upto(v + i, lanes);
    first = fma(set1(c.beta1_weight), sub(gradient, first), first);
    second = fma(mul(set1(c.beta2_weight), gradient), gradient, mul(second, set1(c.beta2)));
    const F16 denominator = add(div(vsqrt(second), set1(c.root_correction)), set1(c.eps));
    weight = sub(weight, mul(set1(c.step_size), div(first, denominator)));
    store_upto(w + i, weight, lanes);
    store_upto(m + i, first, lanes);
    store_upto(v + i, second, lanes);
  });
}
