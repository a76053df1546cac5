// Operations on rows: norm, SwiGLU, softmax statistics. A row's sums go through Sum64, whose order depends on
// the length of the row alone.

inline float sum_of_row_squares(const float* x, std::int64_t n) {
  Sum64 sum;
  for_lanes(n, [&](int part, std::int64_t i, std::int64_t lanes) {
    const F16 v = load_upto(x + i, lanes);
    sum.part[part] = fma(v, v, sum.part[part]);
  });
  return sum.total();
}

inline float reciprocal_rms(float sum_of_squares, std::int64_t n, float eps) {
  return 1.0F / __builtin_sqrtf(sum_of_squares / static_cast<float>(n) + eps);
}

void rmsnorm_rows(float* y, float* rstd, float* residual, const float* x, const float* w, std::int64_t rows,
                  std::int64_t h, float eps) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* input = x + r * h;
    if (residual != nullptr) {
      float* sum = residual + r * h;
      for_lanes(h, [&](int, std::int64_t i, std::int64_t lanes) {
        store_upto(sum + i, add(load_upto(sum + i, lanes), load_upto(input + i, lanes)), lanes);
      });
      input = sum;
    }
    const float factor = reciprocal_rms(sum_of_row_squares(input, h), h, eps);
    rstd[r] = factor;
    float* to = y + r * h;
    for_lanes(h, [&](int, std::int64_t i, std::int64_t lanes) {
      store_upto(to + i, mul(mul(load_upto(input + i, lanes), set1(factor)), load_upto(w + i, lanes)), lanes);
    });
  }
}

// With n = x rstd: dx = rstd (dy w - n mean(dy w n)); dw = sum over rows of dy n.
void rmsnorm_backward_rows(float* dx, float* dw_partial, const float* dy, const float* x, const float* w,
                           const float* rstd, std::int64_t rows, std::int64_t h, bool accumulate_dx) {
  if (dw_partial != nullptr) {
    for (std::int64_t i = 0; i < h; ++i) dw_partial[i] = 0.0F;
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* row_x = x + r * h;
    const float* row_dy = dy + r * h;
    float* row_dx = dx + r * h;
    const F16 factor = set1(rstd[r]);
    Sum64 sum;
    for_lanes(h, [&](int part, std::int64_t i, std::int64_t lanes) {
      const F16 weighted = mul(load_upto(row_dy + i, lanes), load_upto(w + i, lanes));
      sum.part[part] = fma(weighted, mul(load_upto(row_x + i, lanes), factor), sum.part[part]);
    });
    const F16 mean = set1(sum.total() / static_cast<float>(h));
    for_lanes(h, [&](int, std::int64_t i, std::int64_t lanes) {
      const F16 normalised = mul(load_upto(row_x + i, lanes), factor);
      const F16 gradient = load_upto(row_dy + i, lanes);
      if (dw_partial != nullptr) {
        store_upto(dw_partial + i, fma(gradient, normalised, load_upto(dw_partial + i, lanes)), lanes);
      }
      const F16 inner = sub(mul(gradient, load_upto(w + i, lanes)), mul(normalised, mean));
      F16 value = mul(factor, inner);
      if (accumulate_dx) value = add(load_upto(row_dx + i, lanes), value);
      store_upto(row_dx + i, value, lanes);
    });
  }
}

void swiglu_rows(float* y, const float* gate_up, std::int64_t rows, std::int64_t inner) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* gate = gate_up + r * 2 * inner;
    const float* up = gate + inner;
    float* to = y + r * inner;
    for_lanes(inner, [&](int, std::int64_t i, std::int64_t lanes) {
      const F16 a = load_upto(gate + i, lanes);
      store_upto(to + i, mul(mul(a, vsigmoid(a)), load_upto(up + i, lanes)), lanes);
    });
  }
}

// silu'(a) = s + a s (1 - s) with s = sigmoid(a).
void swiglu_backward_rows(float* dgate_up, const float* dy, const float* gate_up, std::int64_t rows,
                          std::int64_t inner) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* gate = gate_up + r * 2 * inner;
    const float* up = gate + inner;
    const float* row_dy = dy + r * inner;
    float* dgate = dgate_up + r * 2 * inner;
    float* dup = dgate + inner;
    for_lanes(inner, [&](int, std::int64_t i, std::int64_t lanes) {
      const F16 a = load_upto(gate + i, lanes);
      const F16 b = load_upto(up + i, lanes);
      const F16 gradient = load_upto(row_dy + i, lanes);
      const F16 s = vsigmoid(a);
      const F16 silu = mul(a, s);
      const F16 slope = fma(silu, sub(set1(1.0F), s), s);
      store_upto(dgate + i, mul(mul(gradient, b), slope), lanes);
      store_upto(dup + i, mul(gradient, silu), lanes);
    });
  }
}

void add_to(float* to, const float* from, std::int64_t n) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    store_upto(to + i, add(load_upto(to + i, lanes), load_upto(from + i, lanes)), lanes);
  });
}

void divide(float* values, std::int64_t n, float divisor) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    store_upto(values + i, div(load_upto(values + i, lanes), set1(divisor)), lanes);
  });
}

void exp_values(float* to, const float* from, std::int64_t n) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    store_upto(to + i, vexp(load_upto(from + i, lanes)), lanes);
  });
}

inline float max_of_row(const float* z, std::int64_t n) {
  F16 best[4] = {set1(z[0]), set1(z[0]), set1(z[0]), set1(z[0])};
  for_lanes(n, [&](int part, std::int64_t i, std::int64_t lanes) {
    const F16 v = lanes == 16 ? load(z + i) : keep_first_or(load_first(z + i, lanes), lanes, best[part]);
    best[part] = vmax(best[part], v);
  });
  return reduce_max(vmax(vmax(best[0], best[1]), vmax(best[2], best[3])));
}

// With e = exp(z - max): lse = max + log(sum e), entropy = log(sum e) - sum e (z - max) / sum e.
RowStats row_statistics(const float* z, std::int64_t n) {
  const float max = max_of_row(z, n);
  Sum64 sum;
  Sum64 weighted;
  for_lanes(n, [&](int part, std::int64_t i, std::int64_t lanes) {
    const F16 shifted = sub(load_upto(z + i, lanes), set1(max));
    const F16 e = lanes == 16 ? vexp(shifted) : keep_first(vexp(shifted), lanes);
    sum.part[part] = add(sum.part[part], e);
    // A logit of minus infinity has no weight; without the bound it would give 0 times infinity.
    weighted.part[part] = fma(e, vmax(set1(-1e30F), shifted), weighted.part[part]);
  });
  const float total = sum.total();
  const float log_total = log_of(total);
  return {max, max + log_total, log_total - weighted.total() / total};
}

void logit_gradient(float* z, std::int64_t n, float lse, std::int32_t target, float factor) {
  const float at_target = z[target];
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    const F16 p = vexp(sub(load_upto(z + i, lanes), set1(lse)));
    store_upto(z + i, mul(set1(-factor), p), lanes);
  });
  float p[16];
  store(p, vexp(set1(at_target - lse)));
  z[target] = factor * (1.0F - p[0]);
}

void exp_block_sums(float* to, const float* z, std::int64_t n, float lse) {
  for (std::int64_t b = 0; b * 256 < n; ++b) {
    const std::int64_t count = n - b * 256 < 256 ? n - b * 256 : 256;
    const float* from = z + b * 256;
    Sum64 sum;
    for_lanes(count, [&](int part, std::int64_t i, std::int64_t lanes) {
      const F16 e = vexp(sub(load_upto(from + i, lanes), set1(lse)));
      sum.part[part] = add(sum.part[part], lanes == 16 ? e : keep_first(e, lanes));
    });
    to[b] = sum.total();
  }
}

void exp_minus(float* to, const float* z, std::int64_t n, float lse) {
  for_lanes(n, [&](int, std::int64_t i, std::int64_t lanes) {
    store_upto(to + i, vexp(sub(load_upto(z + i, lanes), set1(lse))), lanes);
  });
}
