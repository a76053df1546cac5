// Packed causal attention, forward and backward. The paged form: attention_paged_test.cpp.
#include "ops/attention.h"

#include "ops/attention_cases.h"
#include "ops/reference/attention.h"

namespace rlcpp::test {
namespace {

using Attention = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Attention, every_device(), device_name);

// Any heads and documents; those of models, whose kernels on a GPU are cuDNN's; and rows of documents of one
// length, a multiple of 128, for which cuDNN has other kernels than for ragged ones.
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
  list.push_back(make_attention_case(random, {2, 1, 256}, {40, 70}));
  list.push_back(make_attention_case(random, {4, 2, 80}, {90, 33}));
  list.push_back(make_attention_case(random, {4, 2, 64}, {1, 16, 17, 2, 33, 1, 64}));
  list.push_back(make_attention_case(random, {16, 8, 128}, {100, 5}));  // Qwen3-0.6B
  list.push_back(make_attention_case(random, {32, 8, 128}, {31}));      // Qwen3-4B
  list.push_back(make_attention_case(random, {14, 2, 64}, {70, 33}));   // Qwen2.5-0.5B
  list.push_back(make_attention_case(random, {4, 2, 64}, {384}));
  list.push_back(make_attention_case(random, {6, 2, 128}, {256, 256}));
  list.push_back(make_attention_case(random, {4, 4, 64}, {128, 128, 128, 128}));
  return list;
}

TEST_P(Attention, ForwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (AttentionCase& c : cases(random)) {
    const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
    for (const ops::AttentionKernels kernels : attention_kernels(ctx)) {
      ops::use_attention_kernels(ctx, kernels);
      const AttentionResult r = run_packed(ctx, c);
      expect_close(r.out, expected.out, attention_tolerance(ctx), "out");
      if (!ctx.on_gpu()) expect_close(r.lse, expected.lse, 1e-6, "lse");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Attention, SharpScoresStayFinite) {
  const ops::Context ctx = context();
  Random random(ctx);
  AttentionCase c = make_attention_case(random, {2, 1, 64}, {70});
  for (float& value : c.qkv) value *= 64.0F;  // scores of many thousands; a power of two keeps bf16 values
  const AttentionResult r = run_packed(ctx, c);
  const auto expected = ops::reference::attention_forward(to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
  if (!ctx.on_gpu()) expect_close(r.lse, expected.lse, 1e-6, "lse");
  // f32 scores of 1e4 differ by 1e-3.
  expect_close(r.out, expected.out, ctx.on_gpu() ? tolerance(ctx, 1e-3) : Tolerance{1e-3}, "out");
}

TEST(AttentionReference, BackwardAgreesWithFiniteDifferences) {
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

TEST_P(Attention, BackwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (AttentionCase& c : cases(random)) {
    Floats dout = random.normal(c.rows() * c.out_width());
    const Doubles expected =
        ops::reference::attention_backward(to_double(dout), to_double(c.qkv), c.cu_seqlens, c.shape, c.scale);
    for (const ops::AttentionKernels kernels : attention_kernels(ctx)) {
      ops::use_attention_kernels(ctx, kernels);
      AttentionResult r = run_packed(ctx, c);
      expect_close(run_packed_backward(ctx, c, r, dout), expected, attention_backward_tolerance(ctx), "dqkv");
      if (HasFatalFailure()) return;
    }
  }
}

// Rows of several tiles of 128 with documents of any length, and a last tile that is not full: what the
// kernels for Hopper cut their work by.
TEST_P(Attention, BackwardOfManyTilesAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (int i = 0; i < 6; ++i) {
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(random.between(1, 5)));
    for (std::int64_t& length : lengths) length = random.between(1, 400);
    const std::int64_t group = std::int64_t{1} << random.between(0, 3);
    AttentionCase c = make_attention_case(random, {2 * group, 2, i % 2 == 0 ? 64 : 128}, lengths);
    AttentionResult r = run_packed(ctx, c);
    Floats dout = random.normal(c.rows() * c.out_width());
    expect_close(
        run_packed_backward(ctx, c, r, dout),
        ops::reference::attention_backward(to_double(dout), to_double(c.qkv), c.cu_seqlens, c.shape, c.scale),
        attention_backward_tolerance(ctx), "dqkv");
    if (HasFatalFailure()) return;
  }
}

// The same documents in rows of other lengths, one after the other: plans and scratch of an earlier call are
// no part of the result.
TEST_P(Attention, CallsOfManySizesDoNotDisturbEachOther) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (int i = 0; i < 6; ++i) {
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(random.between(1, 9)));
    for (std::int64_t& length : lengths) length = random.between(1, i % 2 == 0 ? 40 : 150);
    AttentionCase c = make_attention_case(random, {4, 2, i < 3 ? 64 : 128}, lengths);
    AttentionResult r = run_packed(ctx, c);
    Floats dout = random.normal(c.rows() * c.out_width());
    const Floats dqkv = run_packed_backward(ctx, c, r, dout);
    const Doubles qkv = to_double(c.qkv);
    expect_close(r.out, ops::reference::attention_forward(qkv, c.cu_seqlens, c.shape, c.scale).out,
                 attention_tolerance(ctx), "out");
    expect_close(dqkv,
                 ops::reference::attention_backward(to_double(dout), qkv, c.cu_seqlens, c.shape, c.scale),
                 attention_backward_tolerance(ctx), "dqkv");
    if (HasFatalFailure()) return;
  }
}

// A document gives the same bits alone as between others, forward and backward, and later tokens change
// nothing.
TEST(AttentionExact, ADocumentDoesNotDependOnThePacking) {
  Random random;
  const ops::Context ctx = cpu_context();
  AttentionCase c = make_attention_case(random, {4, 2, 48}, {37, random.between(2, 200), 90});
  AttentionResult all = run_packed(ctx, c);
  Floats dout = random.normal(c.rows() * 4 * 48);
  const Floats dqkv = run_packed_backward(ctx, c, all, dout);
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
  expect_same_bits(run_packed_backward(ctx, alone, one, dout_alone), slice(dqkv, c.shape.width(), length),
                   "dqkv");
  // A prefix of the document.
  const std::int64_t prefix = random.between(1, length - 1);
  AttentionCase shorter = c;
  shorter.qkv = slice(c.qkv, c.shape.width(), prefix);
  shorter.cu_seqlens = {0, static_cast<std::int32_t>(prefix)};
  expect_same_bits(run_packed(ctx, shorter).out, slice(all.out, 4 * 48, prefix), "prefix");
}

// A later token reaches no earlier one: on the CPU not even if it is not finite. Tiles of a GPU multiply what
// is masked by 0, so there it is other numbers.
TEST_P(Attention, NothingOfTheFutureIsRead) {
  const ops::Context ctx = context();
  Random random(ctx);
  AttentionCase c = make_attention_case(random, {2, 1, 64}, {50});
  const AttentionResult clean = run_packed(ctx, c);
  const std::int64_t cut = random.between(1, 49);
  for (std::int64_t i = cut * c.shape.width(); i < c.rows() * c.shape.width(); ++i)
    c.qkv[i] = ctx.on_gpu() ? 8 - 3 * c.qkv[i] : NAN;
  c.qkv = rounded(ctx, c.qkv);
  const AttentionResult dirty = run_packed(ctx, c);
  const auto early = static_cast<std::size_t>(cut * c.out_width());
  expect_same_bits(std::span(dirty.out).first(early), std::span(clean.out).first(early), "out");
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Attention, SameBits) {
  const ops::Context device = context();
  Random random(device);
  std::vector<AttentionCase> list;
  list.push_back(make_attention_case(random, {4, 2, 40}, {1, 70, 33, 150}));
  list.push_back(make_attention_case(random, {3, 3, 8}, {600}));
  // Documents that are more than a share of two or three threads: their backward is cut.
  list.push_back(make_attention_case(random, {3, 1, 64}, {200, 40}));
  list.push_back(make_attention_case(random, {6, 2, 48}, {random.between(65, 400)}));
  if (device.on_gpu()) {
    list.push_back(make_attention_case(random, {16, 8, 128}, {600, 900}));
    list.push_back(make_attention_case(random, {16, 8, 128}, {1024, 1024}));
  }
  for (AttentionCase& c : list) {
    Floats dout = random.normal(c.rows() * c.out_width());
    for (const ops::AttentionKernels kernels : attention_kernels(device))
      same_bits_again(
          device,
          [&](const ops::Context& ctx) {
            ops::use_attention_kernels(ctx, kernels);
            AttentionResult r = run_packed(ctx, c);
            Floats all = r.out;
            append(all, r.lse);
            append(all, run_packed_backward(ctx, c, r, dout));
            return all;
          },
          "attention");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Attention, NoRows) {
  const ops::Context ctx = context();
  const ops::QkvShape shape = {2, 1, 64};
  Floats qkv(1), out(1), lse(1), delta(1), dqkv(1);
  Ints boundaries = {0};
  const Mirror cu_seqlens = i32(ctx, boundaries, {1});
  const ops::Documents documents = {cu_seqlens, 0};
  ops::attention_forward(ctx, on(ctx, out, {0, 128}), f32(ctx, lse, {0, 2}), on(ctx, qkv, {0, shape.width()}),
                         documents, shape, 0.125F);
  ops::attention_backward(ctx, on(ctx, dqkv, {0, shape.width()}), on(ctx, out, {0, 128}),
                          on(ctx, out, {0, 128}), f32(ctx, lse, {0, 2}), on(ctx, qkv, {0, shape.width()}),
                          f32(ctx, delta, {0, 2}), documents, shape, 0.125F);
}

}  // namespace
}  // namespace rlcpp::test
