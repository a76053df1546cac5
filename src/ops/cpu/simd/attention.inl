// Softmax attention of rows of queries over the keys of one sequence. For one row: each score is one chain
// over head_dim; the maximum has no order; key j's exponential goes to lane j mod 16 of partial sum (j / 16)
// mod 4; each element of the output is one chain over the keys. None of it depends on which rows are computed
// together.

inline float dot(const float* a, const float* b, std::int64_t n) {
  Sum64 sum;
  for_lanes(n, [&](int part, std::int64_t i, std::int64_t lanes) {
    sum.part[part] = fma(load_upto(a + i, lanes), load_upto(b + i, lanes), sum.part[part]);
  });
  return sum.total();
}

struct AttendBuffers {
  float* q;       // [rows][kStride]: queries, later the exponentials of one step of keys
  float* out;     // [rows][kStride]: unnormalised outputs
  float* scores;  // [rows][score_stride]
  float* max;     // [rows]
  std::int64_t score_stride;
};

inline void attend_scores(const AttendArgs& args, const AttendBuffers& buf) {
  const std::int64_t tiles = (args.counts[args.rows - 1] + kTile - 1) / kTile;
  for (std::int64_t t = 0; t < tiles; t += 2) {
    for (std::int64_t i = 0; i < args.rows;) {
      const std::int64_t rows = next_rows(args.rows - i);
      const std::int64_t keys = args.counts[i + rows - 1] - t * kTile;
      if (keys > 0) {
        const std::int64_t columns = keys > kTile ? 2 * kTile : kTile;
        block_row<ByRows>(rows, columns,
                          {buf.q + i * kStride, args.k_tiles[t],
                           columns > kTile ? args.k_tiles[t + 1] : nullptr, args.k_stride, args.head_dim,
                           buf.scores + i * buf.score_stride + t * kTile, buf.score_stride, false, 0});
      }
      i += rows;
    }
  }
}

// out[i .. i + rows) += exponentials of keys [begin, end) times their values; `first` is the key in column 0
// of buf.q.
inline void attend_values(const AttendArgs& args, const AttendBuffers& buf, std::int64_t i, std::int64_t rows,
                          std::int64_t first, std::int64_t begin, std::int64_t end) {
  while (begin < end) {
    // One call takes as many keys as lie at one stride: all of a packed document, one page or a run of them.
    const std::int64_t tile = begin / kTile;
    std::int64_t limit = (tile + 1) * kTile;
    for (std::int64_t t = tile; limit < end && args.v_tiles[t + 1] == args.v_tiles[t] + kTile * args.v_stride;
         ++t) {
      limit += kTile;
    }
    if (limit > end) limit = end;
    const float* v = args.v_tiles[tile] + begin % kTile * args.v_stride;
    for (std::int64_t d = 0; d < args.head_dim; d += 32) {
      const std::int64_t columns = args.head_dim - d < 32 ? args.head_dim - d : 32;
      block_row<ByRows>(rows, columns,
                        {buf.q + i * kStride + begin - first, v + d, v + d + 16, args.v_stride, limit - begin,
                         buf.out + i * kStride + d, kStride, true, 0});
    }
    begin = limit;
  }
}

void attend(const AttendArgs& args) {
  AttendBuffers buf;
  buf.score_stride = attend_score_stride(args.counts[args.rows - 1]);
  buf.q = args.scratch;
  buf.out = buf.q + args.rows * kStride;
  buf.scores = buf.out + args.rows * kStride;
  buf.max = buf.scores + args.rows * buf.score_stride;
  float* sums = buf.max + args.rows;

  for (std::int64_t r = 0; r < args.rows; ++r) copy_floats(buf.q + r * kStride, args.q[r], args.head_dim);
  attend_scores(args, buf);
  for (std::int64_t r = 0; r < args.rows; ++r) {
    buf.max[r] = max_of_row(buf.scores + r * buf.score_stride, args.counts[r]) * args.scale;
    for (std::int64_t d = 0; d < args.head_dim; d += 16) store(buf.out + r * kStride + d, zero());
    for (std::int64_t p = 0; p < 64; p += 16) store(sums + r * 64 + p, zero());
  }
  const std::int64_t keys = args.counts[args.rows - 1];
  for (std::int64_t first = 0; first < keys; first += kStep) {
    for (std::int64_t r = 0; r < args.rows; ++r) {
      const std::int64_t count = args.counts[r] - first < kStep ? args.counts[r] - first : kStep;
      if (count <= 0) continue;
      const float* score = buf.scores + r * buf.score_stride + first;
      float* e = buf.q + r * kStride;
      const F16 max = set1(buf.max[r]);
      const F16 factor = set1(args.scale);
      F16 part[4] = {load(sums + r * 64), load(sums + r * 64 + 16), load(sums + r * 64 + 32),
                     load(sums + r * 64 + 48)};
      for_lanes(count, [&](int p, std::int64_t i, std::int64_t lanes) {
        F16 value = vexp(sub(mul(load(score + i), factor), max));
        if (lanes < 16) value = keep_first(value, lanes);
        store(e + i, value);
        part[p] = add(part[p], value);
      });
      for (int p = 0; p < 4; ++p) store(sums + r * 64 + p * 16, part[p]);
    }
    for (std::int64_t i = 0; i < args.rows;) {
      const std::int64_t rows = next_rows(args.rows - i);
      // Keys that all rows see, then those that only the later rows see, so that no row reads a key of its
      // future.
      std::int64_t done = first;
      for (std::int64_t r = i; r < i + rows; ++r) {
        const std::int64_t end = args.counts[r] < first + kStep ? args.counts[r] : first + kStep;
        if (end <= done) continue;
        attend_values(args, buf, r, i + rows - r, first, done, end);
        done = end;
      }
      i += rows;
    }
  }
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const float* s = sums + r * 64;
    const float total = reduce_add(add(add(load(s), load(s + 16)), add(load(s + 32), load(s + 48))));
    const F16 inverse = set1(1.0F / total);
    for (std::int64_t d = 0; d < args.head_dim; d += 16) {
      const std::int64_t lanes = args.head_dim - d < 16 ? args.head_dim - d : 16;
      store_upto(args.out[r] + d, mul(load(buf.out + r * kStride + d), inverse), lanes);
    }
    if (args.lse != nullptr) *args.lse[r] = buf.max[r] + log_of(total);
  }
}
