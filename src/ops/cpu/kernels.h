// The inner loops of the CPU operations as a table of functions. One source (simd/*.inl) is compiled once for
// each instruction set, and the table is chosen at run time; all tables give the same bits
// (docs/numerics.md). Nothing here knows of threads or Tensors: callers split the work and check the shapes.
#pragma once

#include <cstdint>
#include <span>

namespace rlcpp::ops::cpu {

// Output features of one panel of a packed weight: panel p holds rows k = 0..K-1 of 32 consecutive features,
// padded with zeros.
inline constexpr std::int64_t kPanel = 32;
// Steps over k between two visits of the accumulators in memory, and the row stride (in floats) of the
// scratch that holds one operand: a compile-time stride lets one register address every row, and 33 cache
// lines a row do not collide in the cache's sets.
inline constexpr std::int64_t kStep = 512;
inline constexpr std::int64_t kStride = kStep + 16;
// Floats of B that one tile of a product reads again and again: half of a second-level cache of 1 MiB.
inline constexpr std::int64_t kResidentB = 128 * 1024;
// Keys of one tile of attention.
inline constexpr std::int64_t kTile = 16;

// C [m, n] = A [m, k] B [k, n], each element one chain of fused multiply-adds over k in order.
struct ProductTile {
  const float* a = nullptr;
  std::int64_t lda = 0;
  bool a_transposed = false;  // A[i][k] = a[k * lda + i] instead of a[i * lda + k]
  const float* b = nullptr;   // panel j starts at b + j * panel_stride and has row stride ldb
  std::int64_t panel_stride = 0;
  std::int64_t ldb = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  std::int64_t m = 0, n = 0, k = 0;
  bool resume = false;          // the chains start from C instead of 0
  const float* bias = nullptr;  // added to the finished chain
  bool add_old = false;         // then the old C is added
  float* a_scratch = nullptr;   // product_scratch(m) floats
  float* partial = nullptr;     // m * round_up(n, 32) floats if add_old
};
// Rows of A are kept in blocks whose rows may be padded by up to a third (avx2: 6 rows in 8 places).
inline constexpr std::int64_t product_scratch(std::int64_t m) {
  return (m + m / 3 + 16) * kStride;
}

struct RowStats {
  float max;
  float lse;
  float entropy;
};

// Geometry of fused rows of q, k and v heads.
struct HeadRows {
  std::int64_t rows = 0;
  std::int64_t width = 0;  // row stride of qkv in floats
  std::int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
};

struct RopeArgs {
  HeadRows shape;
  const float* qkv = nullptr;     // forward: input; backward: the forward's input
  const float* dout = nullptr;    // backward only
  float* out = nullptr;           // forward: out; backward: dqkv
  float* rstd = nullptr;          // [rows, num_heads + num_kv_heads]
  const float* q_norm = nullptr;  // null: no norms
  const float* k_norm = nullptr;
  float* dq_norm = nullptr;  // backward: partial sums of these rows, added to
  float* dk_norm = nullptr;
  const float* cos = nullptr;
  const float* sin = nullptr;
  const std::int32_t* positions = nullptr;
  float eps = 0;
};

// Rows of queries against the keys of one sequence and one kv head, in tiles of 16 keys. A row sees keys
// [0, counts[row]); counts do not decrease.
struct AttendArgs {
  std::int64_t rows = 0;
  std::int64_t head_dim = 0;
  float scale = 1;
  const float* const* q = nullptr;  // [rows] -> [head_dim]
  float* const* out = nullptr;      // [rows] -> [head_dim]
  float* const* lse = nullptr;      // [rows] -> one float; null: not wanted
  const std::int64_t* counts = nullptr;
  const float* const* k_tiles = nullptr;  // tile t: [head_dim][16] with row stride k_stride
  std::int64_t k_stride = 0;
  const float* const* v_tiles = nullptr;  // tile t: [16][head_dim] with row stride v_stride
  std::int64_t v_stride = 0;
  float* scratch = nullptr;  // attend_scratch(rows, counts[rows - 1]) floats
};
inline constexpr std::int64_t attend_score_stride(std::int64_t keys) {
  return (keys + 31) / 32 * 32 + 16;
}
inline constexpr std::int64_t attend_scratch(std::int64_t rows, std::int64_t keys) {
  return rows * (2 * kStride + attend_score_stride(keys) + 1 + 64);
}

// The gradient of one document and one kv head with its group of q heads, whole or in parts that give the
// same bits: every sum has the order of the whole.
struct AttendBackwardArgs {
  std::int64_t length = 0;  // tokens
  std::int64_t head_dim = 0;
  std::int64_t group = 0;  // q heads of this kv head
  float scale = 1;
  std::int64_t width = 0;      // row stride of qkv and dqkv
  std::int64_t out_width = 0;  // row stride of out and dout
  std::int64_t heads = 0;      // row stride of lse and delta
  const float* q = nullptr;    // first q head of the group, first row of the document; the others alike
  const float* k_tiles =
      nullptr;  // tile t of 16 keys: [head_dim][16] at t * 16 * head_dim, zeros beyond the document
  const float* v_tiles = nullptr;  // the same of v
  const float* k = nullptr;        // [length][head_dim]
  const float* dout = nullptr;
  const float* lse = nullptr;
  const float* delta = nullptr;
  float* dq = nullptr;
  float* dk = nullptr;
  float* dv = nullptr;
  float* scratch = nullptr;  // attend_backward_scratch(keys, head_dim) floats; keys: length, or 64 for a part
};
inline constexpr std::int64_t kBackwardBlock = 64;  // queries and keys of one block of the backward
inline constexpr std::int64_t attend_backward_scratch(std::int64_t keys, std::int64_t head_dim) {
  return 2 * keys * head_dim + 5 * kBackwardBlock * kStride;
}

struct AdamWConstants {
  float decay;            // 1 - lr * weight_decay
  float beta1_weight;     // 1 - beta1
  float beta2;            // beta2
  float beta2_weight;     // 1 - beta2
  float step_size;        // lr / (1 - beta1^t)
  float root_correction;  // sqrt(1 - beta2^t)
  float eps;
  float gradient_scale;
};

struct Kernels {
  const char* name;  // "avx512", "avx2", "portable"

  // Products (simd/product.inl).
  void (*product_tile)(const ProductTile& tile);
  // Panels of w^T: panel[k][j] = w[(first + j) * ldw + k], j < count <= 32, zeros beyond.
  void (*pack_transposed_panel)(float* panel, const float* w, std::int64_t ldw, std::int64_t count,
                                std::int64_t k);
  // Panels of b: panel[k][j] = b[k * ldb + j], j < count <= 32, zeros beyond.
  void (*pack_panel)(float* panel, const float* b, std::int64_t ldb, std::int64_t count, std::int64_t k);
  // tile[d * tile_stride + j] = rows[j * row_stride + d] for j < count <= 16, zeros beyond.
  void (*transpose_tile)(float* tile, std::int64_t tile_stride, const float* rows, std::int64_t row_stride,
                         std::int64_t count, std::int64_t head_dim);

  // Rows (simd/rows.inl).
  // residual may be null; if not, residual += x first and the norm reads residual.
  void (*rmsnorm_rows)(float* y, float* rstd, float* residual, const float* x, const float* w,
                       std::int64_t rows, std::int64_t h, float eps);
  // dw_partial [h] (null: not wanted) is overwritten with the sum over these rows.
  void (*rmsnorm_backward_rows)(float* dx, float* dw_partial, const float* dy, const float* x, const float* w,
                                const float* rstd, std::int64_t rows, std::int64_t h, bool accumulate_dx);
  void (*swiglu_rows)(float* y, const float* gate_up, std::int64_t rows, std::int64_t inner);
  void (*swiglu_backward_rows)(float* dgate_up, const float* dy, const float* gate_up, std::int64_t rows,
                               std::int64_t inner);
  void (*add_to)(float* to, const float* from, std::int64_t n);
  void (*divide)(float* values, std::int64_t n, float divisor);
  void (*exp_values)(float* to, const float* from, std::int64_t n);  // to = exp(from)
  RowStats (*row_statistics)(const float* z, std::int64_t n);
  // z = factor (onehot(target) - exp(z - lse)).
  void (*logit_gradient)(float* z, std::int64_t n, float lse, std::int32_t target, float factor);
  // to[b] = sum of exp(z - lse) over block b of 256.
  void (*exp_block_sums)(float* to, const float* z, std::int64_t n, float lse);
  // to = exp(z - lse).
  void (*exp_minus)(float* to, const float* z, std::int64_t n, float lse);

  // Heads (simd/rope.inl).
  void (*qk_norm_rope)(const RopeArgs& args);
  void (*qk_norm_rope_backward)(const RopeArgs& args);

  // Attention (simd/attention.inl, simd/attention_backward.inl).
  void (*attend)(const AttendArgs& args);
  // to = sum a b over n.
  float (*dot)(const float* a, const float* b, std::int64_t n);
  void (*attend_backward)(const AttendBackwardArgs& args);
  // dk and dv of the block of keys from k0 on; dq of one head's block of queries from q0 on.
  void (*attend_backward_keys)(const AttendBackwardArgs& args, std::int64_t k0);
  void (*attend_backward_queries)(const AttendBackwardArgs& args, std::int64_t head, std::int64_t q0);

  // Flat parameters (simd/optimizer.inl).
  double (*sum_of_squares)(const float* g, std::int64_t n);
  void (*scale)(float* g, std::int64_t n, float factor);
  bool (*all_finite)(const float* g, std::int64_t n);
  void (*adamw)(float* w, float* m, float* v, const float* g, std::int64_t n,
                const AdamWConstants& constants);
};

// The best table for this processor; tables that can run here, best first.
const Kernels& best_kernels();
std::span<const Kernels* const> available_kernels();

// Defined by kernels_avx512.cpp, kernels_avx2.cpp and kernels_portable.cpp.
const Kernels& avx512_kernels();
const Kernels& avx2_kernels();
const Kernels& portable_kernels();

}  // namespace rlcpp::ops::cpu
