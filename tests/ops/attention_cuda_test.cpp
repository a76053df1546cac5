// Rows whose backward CUDA runs in pieces, since cuDNN's deterministic algorithm needs scratch for every pair
// of tokens: some documents at a time, or some heads of one document.
#include "ops/attention_cases.h"
#include "ops/reference/attention.h"

namespace rlcpp::test {
namespace {

using AttentionInPieces = OnEveryDevice;
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AttentionInPieces);
INSTANTIATE_TEST_SUITE_P(, AttentionInPieces, a_gpu(), device_name);

// `width` columns from `column` of rows that are `stride` wide.
Floats columns(const Floats& rows, std::int64_t stride, std::int64_t column, std::int64_t width) {
  Floats part;
  for (auto row = rows.begin(); row < rows.end(); row += stride)
    part.insert(part.end(), row + column, row + column + width);
  return part;
}

// One kv head and its queries, of rows in the layout of qkv.
Floats one_head(const Floats& rows, const ops::QkvShape& s, std::int64_t kv_head) {
  const std::int64_t group = s.num_heads / s.num_kv_heads;
  const Floats q = columns(rows, s.width(), kv_head * group * s.head_dim, group * s.head_dim);
  const Floats k = columns(rows, s.width(), (s.num_heads + kv_head) * s.head_dim, s.head_dim);
  const Floats v =
      columns(rows, s.width(), (s.num_heads + s.num_kv_heads + kv_head) * s.head_dim, s.head_dim);
  Floats part;
  const auto count = static_cast<std::int64_t>(rows.size()) / s.width();
  for (std::int64_t row = 0; row < count; ++row) {
    part.insert(part.end(), q.begin() + row * group * s.head_dim, q.begin() + (row + 1) * group * s.head_dim);
    part.insert(part.end(), k.begin() + row * s.head_dim, k.begin() + (row + 1) * s.head_dim);
    part.insert(part.end(), v.begin() + row * s.head_dim, v.begin() + (row + 1) * s.head_dim);
  }
  return part;
}

TEST_P(AttentionInPieces, AgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  const ops::QkvShape shape = {16, 8, 64};
  const ops::QkvShape part_shape = {2, 1, 64};
  using ops::AttentionKernels;
  const std::vector<std::int64_t> many(10, 1024), one = {3072};
  for (const auto& how : {std::pair{AttentionKernels::kLibrary, many},
                          {AttentionKernels::kLibrary, one},
                          {AttentionKernels::kUnordered, many},
                          {AttentionKernels::kUnordered, one}}) {
    ops::use_attention_kernels(ctx, how.first);
    const std::vector<std::int64_t>& lengths = how.second;
    AttentionCase c = make_attention_case(random, shape, lengths);
    AttentionResult r = run_packed(ctx, c);
    Floats dout = random.normal(c.rows() * c.out_width());
    const Floats dqkv = run_packed_backward(ctx, c, r, dout);
    const auto check = [&](std::int64_t document, std::int64_t kv_head) {
      const auto rows_of = [&](const Floats& rows, std::int64_t width) {
        return Floats(rows.begin() + c.cu_seqlens[document] * width,
                      rows.begin() + c.cu_seqlens[document + 1] * width);
      };
      const auto out_of = [&](const Floats& rows) {
        return columns(rows_of(rows, c.out_width()), c.out_width(), kv_head * 128, 128);
      };
      const Doubles qkv = to_double(one_head(rows_of(c.qkv, shape.width()), shape, kv_head));
      const Ints boundaries = {0, static_cast<std::int32_t>(lengths[0])};
      expect_close(out_of(r.out), ops::reference::attention_forward(qkv, boundaries, part_shape, c.scale).out,
                   attention_tolerance(ctx), "out");
      expect_close(
          one_head(rows_of(dqkv, shape.width()), shape, kv_head),
          ops::reference::attention_backward(to_double(out_of(dout)), qkv, boundaries, part_shape, c.scale),
          attention_backward_tolerance(ctx), "dqkv");
    };
    check(0, 0);
    check(static_cast<std::int64_t>(lengths.size()) - 1, 7);
    check(static_cast<std::int64_t>(lengths.size()) / 2, 4);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rlcpp::test
