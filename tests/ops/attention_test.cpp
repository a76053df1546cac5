// Packed causal attention, forward and backward. The paged form: attention_paged_test.cpp.
#include "ops/attention.h"

#include "ops/attention_cases.h"
#include "ops/reference/attention.h"

namespace rlcpp::test {
namespace {

std::vector<AttentionCase> cases(Random& random) {
  std::vector<AttentionCase> list;
  list.push_back(make_attention_case(random, {1, 1, 8}, {1}));
  list.push_back(make_attention_case(random, {4, 2, 32}, {1, 16, 17, 2, 33, 1, 64}));
  list.push_back(make_attention_case(random, {3, 1, 40}, {100, 5}));
  list.push_back(make_attention_case(random, {5, 5, 16}, {31, 130}));
  list.push_back(make_attention_case(random, {8, 1, 64}, {65, 0, 40}));  // an empty document between others
  list.push_back(make_attention_case(random, {2, 1, 128}, {random.between(1, 90), random.between(1, 300)}));
  list.push_back(make_attention_case(random, {64, 1, 10}, {7, 20}));  // a group larger than one call's rows
  list.push_back(make_attention_case(random, {1, 1, 24}, {1100}));    // more keys than one step
  return list;
}

TEST(Attention, ForwardAgreesWithTheReference) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (AttentionCase& c : cases(random)) {
    const AttentionResult r = run_packed(ctx, c);
    const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
    expect_close(r.out, expected.out, 2e-6, "out");
    expect_close(r.lse, expected.lse, 1e-6, "lse");
    if (HasFatalFailure()) return;
  }
}

TEST(Attention, SharpScoresStayFinite) {
  Random random;
  AttentionCase c = make_attention_case(random, {2, 1, 16}, {70});
  for (float& value : c.qkv) value *= 60.0F;  // scores of many thousands
  const AttentionResult r = run_packed(cpu_context(), c);
  const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
  expect_close(r.lse, expected.lse, 1e-6, "lse");
  expect_close(r.out, expected.out, 1e-3, "out");  // f32 scores of 1e4 differ by 1e-3
}

TEST(Attention, ReferenceBackwardAgreesWithFiniteDifferences) {
  Random random;
  const AttentionCase c = make_attention_case(random, {4, 2, 4}, {3, 5});
  const Doubles qkv = to_double(c.qkv);
  const Doubles dout = to_double(random.normal(c.rows() * 16));
  const auto loss = [&](const Doubles& v) {
    return weighted_sum(ops::reference::attention_forward(v, c.cu_seqlens, c.shape, c.scale).out, dout);
  };
  expect_gradient(loss, qkv, ops::reference::attention_backward(dout, qkv, c.cu_seqlens, c.shape, c.scale),
                  random, "qkv");
}

Floats run_backward(const ops::Context& ctx, AttentionCase& c, AttentionResult& r, Floats& dout) {
  Floats dqkv = poisoned(c.rows() * c.shape.width());
  Floats delta = poisoned(c.rows() * c.shape.num_heads);
  const std::int64_t out_width = c.shape.num_heads * c.shape.head_dim;
  ops::attention_backward(ctx, view(dqkv, {c.rows(), c.shape.width()}), view(dout, {c.rows(), out_width}),
                          view(r.out, {c.rows(), out_width}), view(r.lse, {c.rows(), c.shape.num_heads}),
                          view(c.qkv, {c.rows(), c.shape.width()}),
                          view(delta, {c.rows(), c.shape.num_heads}), c.documents(), c.shape, c.scale);
  return dqkv;
}

TEST(Attention, BackwardAgreesWithTheReference) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (AttentionCase& c : cases(random)) {
    AttentionResult r = run_packed(ctx, c);
    Floats dout = random.normal(c.rows() * c.shape.num_heads * c.shape.head_dim);
    const Floats dqkv = run_backward(ctx, c, r, dout);
    expect_close(
        dqkv,
        ops::reference::attention_backward(to_double(dout), to_double(c.qkv), c.cu_seqlens, c.shape, c.scale),
        5e-6, "dqkv");
    if (HasFatalFailure()) return;
  }
}

// A document gives the same bits alone as between others, forward and backward, and later tokens change
// nothing.
TEST(Attention, ADocumentDoesNotDependOnThePacking) {
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {4, 2, 48}, {37, random.between(2, 200), 90});
  AttentionResult all = run_packed(ctx, c);
  Floats dout = random.normal(c.rows() * 4 * 48);
  const Floats dqkv = run_backward(ctx, c, all, dout);
  const std::int64_t begin = c.cu_seqlens[1];
  const std::int64_t length = c.cu_seqlens[2] - begin;
  const auto slice = [&](const Floats& rows, std::int64_t width, std::int64_t count) {
    return Floats(rows.begin() + begin * width, rows.begin() + (begin + count) * width);
  };
  AttentionCase alone = c;
  alone.qkv = slice(c.qkv, c.shape.width(), length);
  alone.cu_seqlens = {0, static_cast<std::int32_t>(length)};
  AttentionResult one = run_packed(ctx, alone);
  expect_same_bits(one.out, slice(all.out, 4 * 48, length), "out");
  expect_same_bits(one.lse, slice(all.lse, 4, length), "lse");
  Floats dout_alone = slice(dout, 4 * 48, length);
  expect_same_bits(run_backward(ctx, alone, one, dout_alone), slice(dqkv, c.shape.width(), length), "dqkv");
  // A prefix of the document.
  const std::int64_t prefix = random.between(1, length - 1);
  AttentionCase shorter = c;
  shorter.qkv = slice(c.qkv, c.shape.width(), prefix);
  shorter.cu_seqlens = {0, static_cast<std::int32_t>(prefix)};
  expect_same_bits(run_packed(ctx, shorter).out, slice(all.out, 4 * 48, prefix), "prefix");
}

// What is not finite in a later token reaches no earlier one.
TEST(Attention, NothingOfTheFutureIsRead) {
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {2, 1, 16}, {50});
  const AttentionResult clean = run_packed(ctx, c);
  const std::int64_t cut = random.between(1, 49);
  for (std::int64_t i = cut * c.shape.width(); i < c.rows() * c.shape.width(); ++i) c.qkv[i] = NAN;
  const AttentionResult dirty = run_packed(ctx, c);
  expect_same_bits(std::span(dirty.out).first(cut * 32), std::span(clean.out).first(cut * 32), "out");
}

TEST(Attention, SameBitsWithAllSetsAndThreads) {
  Random random;
  std::vector<AttentionCase> list;
  list.push_back(make_attention_case(random, {4, 2, 40}, {1, 70, 33, 150}));
  list.push_back(make_attention_case(random, {3, 3, 8}, {600}));
  for (AttentionCase& c : list) {
    Floats dout = random.normal(c.rows() * c.shape.num_heads * c.shape.head_dim);
    same_bits_everywhere(
        [&](const ops::Context& ctx) {
          AttentionResult r = run_packed(ctx, c);
          Floats all = r.out;
          append(all, r.lse);
          append(all, run_backward(ctx, c, r, dout));
          return all;
        },
        "attention");
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rlcpp::test
