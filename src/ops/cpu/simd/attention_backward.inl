// Gradient of causal attention for one document and one kv head, in blocks of 64 queries by 64 keys (the
// recomputation of Dao et al. 2022): P = exp(S - lse), dS = P (dP - delta) scale, dV = P^T dO, dK = dS^T Q,
// dQ = dS K. One task does it alone, so every sum has one order.

struct BackwardBuffers {
  float* k_tiles;  // [tile][head_dim][16]
  float* v_tiles;
  float* q;  // [64][kStride]
  float* dout;
  float* p;
  float* ds;
};

// P and dS of queries [q0, q0 + nq) and keys [k0, k0 + nk) for one head.
inline void backward_scores(const AttendBackwardArgs& args, const BackwardBuffers& buf, std::int64_t head,
                            std::int64_t q0, std::int64_t nq, std::int64_t k0, std::int64_t nk) {
  for (std::int64_t t = 0; t * kTile < nk; t += 2) {
    const std::int64_t columns = nk - t * kTile > kTile ? 2 * kTile : kTile;
    const std::int64_t tile_size = args.head_dim * kTile;
    const float* kt = buf.k_tiles + (k0 / kTile + t) * tile_size;
    const float* vt = buf.v_tiles + (k0 / kTile + t) * tile_size;
    for (std::int64_t i = 0; i < nq;) {
      const std::int64_t rows = next_rows(nq - i);
      block_row<ByRows>(rows, columns,
                        {buf.q + i * kStride, kt, kt + tile_size, kTile, args.head_dim,
                         buf.p + i * kStride + t * kTile, kStride, false, 0});
      block_row<ByRows>(rows, columns,
                        {buf.dout + i * kStride, vt, vt + tile_size, kTile, args.head_dim,
                         buf.ds + i * kStride + t * kTile, kStride, false, 0});
      i += rows;
    }
  }
  for (std::int64_t r = 0; r < nq; ++r) {
    const F16 lse = set1(args.lse[(q0 + r) * args.heads + head]);
    const F16 delta = set1(args.delta[(q0 + r) * args.heads + head]);
    const F16 factor = set1(args.scale);
    const std::int64_t seen = q0 + r + 1 - k0;
    float* p_row = buf.p + r * kStride;
    float* ds_row = buf.ds + r * kStride;
    for (std::int64_t j = 0; j < nk; j += 16) {
      const std::int64_t lanes = seen - j < 0 ? 0 : (seen - j < 16 ? seen - j : 16);
      const F16 p = vexp(sub(mul(load(p_row + j), factor), lse));
      const F16 ds = mul(mul(p, sub(load(ds_row + j), delta)), factor);
      store(p_row + j, lanes == 16 ? p : keep_first(p, lanes));
      store(ds_row + j, lanes == 16 ? ds : keep_first(ds, lanes));
    }
  }
}

void attend_backward(const AttendBackwardArgs& args) {
  const std::int64_t n = args.length;
  const std::int64_t dim = args.head_dim;
  const std::int64_t tiles = (n + kTile - 1) / kTile;
  BackwardBuffers buf;
  buf.k_tiles = args.scratch;
  buf.v_tiles = buf.k_tiles + (tiles + 1) / 2 * 2 * kTile * dim;
  buf.q = buf.v_tiles + (tiles + 1) / 2 * 2 * kTile * dim;
  buf.dout = buf.q + kBackwardBlock * kStride;
  buf.p = buf.dout + kBackwardBlock * kStride;
  buf.ds = buf.p + kBackwardBlock * kStride;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t count = n - t * kTile < kTile ? n - t * kTile : kTile;
    transpose_rows(buf.k_tiles + t * kTile * dim, kTile, args.k + t * kTile * args.width, args.width, count,
                   dim);
    transpose_rows(buf.v_tiles + t * kTile * dim, kTile, args.v + t * kTile * args.width, args.width, count,
                   dim);
  }
  for (std::int64_t head = 0; head < args.group; ++head) {
    const float* q = args.q + head * dim;
    const float* dout = args.dout + head * dim;
    float* dq = args.dq + head * dim;
    for (std::int64_t q0 = 0; q0 < n; q0 += kBackwardBlock) {
      const std::int64_t nq = n - q0 < kBackwardBlock ? n - q0 : kBackwardBlock;
      for (std::int64_t r = 0; r < nq; ++r) {
        copy_floats(buf.q + r * kStride, q + (q0 + r) * args.width, dim);
        copy_floats(buf.dout + r * kStride, dout + (q0 + r) * args.out_width, dim);
      }
      for (std::int64_t k0 = 0; k0 <= q0; k0 += kBackwardBlock) {
        const std::int64_t nk = n - k0 < kBackwardBlock ? n - k0 : kBackwardBlock;
        backward_scores(args, buf, head, q0, nq, k0, nk);
        // Of all blocks that reach these keys, the diagonal one of the first head comes first.
        const bool resume_keys = head > 0 || k0 != q0;
        for (std::int64_t i = 0; i < nk;) {
          const std::int64_t rows = next_rows(nk - i);
          const std::int64_t from = k0 == q0 ? i : 0;  // earlier queries of the block do not see these keys
          for (std::int64_t d = 0; d < dim; d += 32) {
            const std::int64_t columns = dim - d < 32 ? dim - d : 32;
            const float* gradient = dout + (q0 + from) * args.out_width + d;
            block_row<ByColumns>(
                rows, columns,
                {buf.p + from * kStride + i, gradient, gradient + 16, args.out_width, nq - from,
                 args.dv + (k0 + i) * args.width + d, args.width, resume_keys, 0});
            const float* query = q + (q0 + from) * args.width + d;
            block_row<ByColumns>(rows, columns,
                                 {buf.ds + from * kStride + i, query, query + 16, args.width, nq - from,
                                  args.dk + (k0 + i) * args.width + d, args.width, resume_keys, 0});
          }
          i += rows;
        }
        for (std::int64_t i = 0; i < nq;) {
          const std::int64_t rows = next_rows(nq - i);
          for (std::int64_t d = 0; d < dim; d += 32) {
            const std::int64_t columns = dim - d < 32 ? dim - d : 32;
            const float* key = args.k + k0 * args.width + d;
            block_row<ByRows>(rows, columns,
                              {buf.ds + i * kStride, key, key + 16, args.width, nk,
                               dq + (q0 + i) * args.width + d, args.width, k0 > 0, 0});
          }
          i += rows;
        }
      }
    }
  }
}
