// Per-head RMSNorm of q and k, and rotary positions.

inline constexpr std::int64_t kMaxHeadDim = 512;

void qk_norm_rope(const RopeArgs& args) {
  const HeadRows& s = args.shape;
  const std::int64_t half = s.head_dim / 2;
  const std::int64_t rotated = s.num_heads + s.num_kv_heads;
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const float* cos = args.cos + args.positions[r] * half;
    const float* sin = args.sin + args.positions[r] * half;
    for (std::int64_t head = 0; head < rotated; ++head) {
      const float* x = args.qkv + r * s.width + head * s.head_dim;
      float* y = args.out + r * s.width + head * s.head_dim;
      const float* w = head < s.num_heads ? args.q_norm : args.k_norm;
      F16 factor = set1(1.0F);
      if (w != nullptr) {
        const float rstd = reciprocal_rms(sum_of_row_squares(x, s.head_dim), s.head_dim, args.eps);
        args.rstd[r * rotated + head] = rstd;
        factor = set1(rstd);
      }
      for (std::int64_t i = 0; i < half; i += 16) {
        const std::int64_t lanes = half - i < 16 ? half - i : 16;
        F16 a = load_upto(x + i, lanes);
        F16 b = load_upto(x + half + i, lanes);
        if (w != nullptr) {
          a = mul(mul(a, factor), load_upto(w + i, lanes));
          b = mul(mul(b, factor), load_upto(w + half + i, lanes));
        }
        const F16 c = load_upto(cos + i, lanes);
        const F16 d = load_upto(sin + i, lanes);
        store_upto(y + i, fms(a, c, mul(b, d)), lanes);
        store_upto(y + half + i, fma(b, c, mul(a, d)), lanes);
      }
    }
    const float* v = args.qkv + r * s.width + rotated * s.head_dim;
    float* to = args.out + r * s.width + rotated * s.head_dim;
    if (to != v) copy_floats(to, v, s.num_kv_heads * s.head_dim);
  }
}

// The rotation is undone (its transpose), then the norm's gradient as in rmsnorm_backward_rows.
void qk_norm_rope_backward(const RopeArgs& args) {
  const HeadRows& s = args.shape;
  const std::int64_t half = s.head_dim / 2;
  const std::int64_t rotated = s.num_heads + s.num_kv_heads;
  alignas(64) float d[kMaxHeadDim];
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const float* cos = args.cos + args.positions[r] * half;
    const float* sin = args.sin + args.positions[r] * half;
    for (std::int64_t head = 0; head < rotated; ++head) {
      const float* dy = args.dout + r * s.width + head * s.head_dim;
      float* dx = args.out + r * s.width + head * s.head_dim;
      const float* w = head < s.num_heads ? args.q_norm : args.k_norm;
      float* to = w != nullptr ? d : dx;
      for (std::int64_t i = 0; i < half; i += 16) {
        const std::int64_t lanes = half - i < 16 ? half - i : 16;
        const F16 a = load_upto(dy + i, lanes);
        const F16 b = load_upto(dy + half + i, lanes);
        const F16 c = load_upto(cos + i, lanes);
        const F16 e = load_upto(sin + i, lanes);
        store_upto(to + i, fma(a, c, mul(b, e)), lanes);
        store_upto(to + half + i, fms(b, c, mul(a, e)), lanes);
      }
      if (w == nullptr) continue;
      float* dw = head < s.num_heads ? args.dq_norm : args.dk_norm;
      const float* x = args.qkv + r * s.width + head * s.head_dim;
      const F16 factor = set1(args.rstd[r * rotated + head]);
      Sum64 sum;
      for_lanes(s.head_dim, [&](int part, std::int64_t i, std::int64_t lanes) {
        const F16 weighted = mul(load_upto(d + i, lanes), load_upto(w + i, lanes));
        sum.part[part] = fma(weighted, mul(load_upto(x + i, lanes), factor), sum.part[part]);
      });
      const F16 mean = set1(sum.total() / static_cast<float>(s.head_dim));
      for_lanes(s.head_dim, [&](int, std::int64_t i, std::int64_t lanes) {
        const F16 normalised = mul(load_upto(x + i, lanes), factor);
        const F16 gradient = load_upto(d + i, lanes);
        if (dw != nullptr) store_upto(dw + i, fma(gradient, normalised, load_upto(dw + i, lanes)), lanes);
        const F16 inner = sub(mul(gradient, load_upto(w + i, lanes)), mul(normalised, mean));
        store_upto(dx + i, mul(factor, inner), lanes);
      });
    }
    const float* dv = args.dout + r * s.width + rotated * s.head_dim;
    float* to = args.out + r * s.width + rotated * s.head_dim;
    if (to != dv) copy_floats(to, dv, s.num_kv_heads * s.head_dim);
  }
}
