// Gradient of causal attention for one document and one kv head, in blocks of 64 queries by 64 keys (the
// recomputation of Dao et al. 2022): P = exp(S - lse), dS = P (dP - delta) scale, dV = P^T dO, dK = dS^T Q,
// dQ = dS K. The whole visits every pair of blocks once; the parts own the results of one block and compute P
// and dS of their pairs again, two products of five, for documents that must keep several threads busy. A sum
// has the same order either way: dV and dK over heads, then queries; dQ over keys.

// Operands and results of the products lie packed: in qkv the rows of a head are apart by a power
// of two for most models, which would meet in a few sets of the caches.
struct BackwardBuffers {
  float* dk;  // [keys][head_dim]
  float* dv;
  float* q;  // [64][kStride]
  float* dout;
  float* p;
  float* ds;
  float* dq;
};

// P and dS of queries [q0, q0 + nq) and keys [k0, k0 + nk) for one head.
inline void backward_scores(const AttendBackwardArgs& args, const BackwardBuffers& buf, std::int64_t head,
                            std::int64_t q0, std::int64_t nq, std::int64_t k0, std::int64_t nk) {
  for (std::int64_t t = 0; t * kTile < nk; t += 2) {
    const std::int64_t columns = nk - t * kTile > kTile ? 2 * kTile : kTile;
    const std::int64_t tile_size = args.head_dim * kTile;
    const float* kt = args.k_tiles + (k0 / kTile + t) * tile_size;
    const float* vt = args.v_tiles + (k0 / kTile + t) * tile_size;
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

inline void copy_rows(float* to, std::int64_t to_stride, const float* from, std::int64_t from_stride,
                      std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r) copy_floats(to + r * to_stride, from + r * from_stride, n);
}

// dV += P^T dO and dK += dS^T Q of nq queries and nk keys, whose rows of dk and dv these are. `from_own`: the
// queries are those of the keys' own block, of which only the later ones see a key.
inline void backward_keys(const BackwardBuffers& buf, float* dk, float* dv, std::int64_t dim, std::int64_t nq,
                          std::int64_t nk, bool from_own, bool resume) {
  for (std::int64_t i = 0; i < nk;) {
    const std::int64_t rows = next_rows(nk - i);
    const std::int64_t from = from_own ? i : 0;
    for (std::int64_t d = 0; d < dim; d += 32) {
      const std::int64_t columns = dim - d < 32 ? dim - d : 32;
      const float* gradient = buf.dout + from * kStride + d;
      block_row<ByColumns>(rows, columns,
                           {buf.p + from * kStride + i, gradient, gradient + 16, kStride, nq - from,
                            dv + i * dim + d, dim, resume, 0});
      const float* query = buf.q + from * kStride + d;
      block_row<ByColumns>(rows, columns,
                           {buf.ds + from * kStride + i, query, query + 16, kStride, nq - from,
                            dk + i * dim + d, dim, resume, 0});
    }
    i += rows;
  }
}

// dQ += dS K.
inline void backward_queries(const BackwardBuffers& buf, const float* k, std::int64_t dim, std::int64_t nq,
                             std::int64_t k0, std::int64_t nk) {
  for (std::int64_t i = 0; i < nq;) {
    const std::int64_t rows = next_rows(nq - i);
    for (std::int64_t d = 0; d < dim; d += 32) {
      const std::int64_t columns = dim - d < 32 ? dim - d : 32;
      const float* key = k + k0 * dim + d;
      block_row<ByRows>(
          rows, columns,
          {buf.ds + i * kStride, key, key + 16, dim, nk, buf.dq + i * kStride + d, kStride, k0 > 0, 0});
    }
    i += rows;
  }
}

inline BackwardBuffers backward_buffers(const AttendBackwardArgs& args, std::int64_t keys) {
  BackwardBuffers buf;
  buf.dk = args.scratch;
  buf.dv = buf.dk + keys * args.head_dim;
  buf.q = buf.dv + keys * args.head_dim;
  buf.dout = buf.q + kBackwardBlock * kStride;
  buf.p = buf.dout + kBackwardBlock * kStride;
  buf.ds = buf.p + kBackwardBlock * kStride;
  buf.dq = buf.ds + kBackwardBlock * kStride;
  return buf;
}

inline std::int64_t rows_of_block(const AttendBackwardArgs& args, std::int64_t first) {
  return args.length - first < kBackwardBlock ? args.length - first : kBackwardBlock;
}

inline void load_queries(const AttendBackwardArgs& args, const BackwardBuffers& buf, std::int64_t head,
                         std::int64_t q0) {
  const std::int64_t dim = args.head_dim;
  const std::int64_t rows = rows_of_block(args, q0);
  copy_rows(buf.q, kStride, args.q + q0 * args.width + head * dim, args.width, rows, dim);
  copy_rows(buf.dout, kStride, args.dout + q0 * args.out_width + head * dim, args.out_width, rows, dim);
}

inline void store_queries(const AttendBackwardArgs& args, const BackwardBuffers& buf, std::int64_t head,
                          std::int64_t q0) {
  copy_rows(args.dq + q0 * args.width + head * args.head_dim, args.width, buf.dq, kStride,
            rows_of_block(args, q0), args.head_dim);
}

void attend_backward(const AttendBackwardArgs& args) {
  const std::int64_t n = args.length;
  const std::int64_t dim = args.head_dim;
  const BackwardBuffers buf = backward_buffers(args, n);
  for (std::int64_t head = 0; head < args.group; ++head) {
    for (std::int64_t q0 = 0; q0 < n; q0 += kBackwardBlock) {
      const std::int64_t nq = rows_of_block(args, q0);
      load_queries(args, buf, head, q0);
      for (std::int64_t k0 = 0; k0 <= q0; k0 += kBackwardBlock) {
        const std::int64_t nk = rows_of_block(args, k0);
        backward_scores(args, buf, head, q0, nq, k0, nk);
        // Of all blocks that reach these keys, their own of the first head comes first.
        backward_keys(buf, buf.dk + k0 * dim, buf.dv + k0 * dim, dim, nq, nk, k0 == q0, head > 0 || k0 != q0);
        backward_queries(buf, args.k, dim, nq, k0, nk);
      }
      store_queries(args, buf, head, q0);
    }
  }
  copy_rows(args.dk, args.width, buf.dk, dim, n, dim);
  copy_rows(args.dv, args.width, buf.dv, dim, n, dim);
}

void attend_backward_keys(const AttendBackwardArgs& args, std::int64_t k0) {
  const std::int64_t dim = args.head_dim;
  const std::int64_t nk = rows_of_block(args, k0);
  const BackwardBuffers buf = backward_buffers(args, kBackwardBlock);
  for (std::int64_t head = 0; head < args.group; ++head) {
    for (std::int64_t q0 = k0; q0 < args.length; q0 += kBackwardBlock) {
      const std::int64_t nq = rows_of_block(args, q0);
      load_queries(args, buf, head, q0);
      backward_scores(args, buf, head, q0, nq, k0, nk);
      backward_keys(buf, buf.dk, buf.dv, dim, nq, nk, k0 == q0, head > 0 || k0 != q0);
    }
  }
  copy_rows(args.dk + k0 * args.width, args.width, buf.dk, dim, nk, dim);
  copy_rows(args.dv + k0 * args.width, args.width, buf.dv, dim, nk, dim);
}

void attend_backward_queries(const AttendBackwardArgs& args, std::int64_t head, std::int64_t q0) {
  const std::int64_t nq = rows_of_block(args, q0);
  const BackwardBuffers buf = backward_buffers(args, kBackwardBlock);
  load_queries(args, buf, head, q0);
  for (std::int64_t k0 = 0; k0 <= q0; k0 += kBackwardBlock) {
    const std::int64_t nk = rows_of_block(args, k0);
    backward_scores(args, buf, head, q0, nq, k0, nk);
    backward_queries(buf, args.k, args.head_dim, nq, k0, nk);
  }
  store_queries(args, buf, head, q0);
}
