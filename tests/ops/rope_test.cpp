#include "ops/rope.h"

#include "ops/ops_support.h"
#include "ops/reference/rope.h"

namespace rlcpp::test {
namespace {

using Rope = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Rope, every_device(), device_name);

constexpr float kEps = 1e-6F;
constexpr std::int64_t kPositions = 50;

// One case with its buffers in f32.
struct Case {
  ops::QkvShape shape;
  std::int64_t rows = 0;
  bool norms = false;
  Floats qkv, q_norm, k_norm, cos, sin;
  Ints positions;

  std::int64_t rotated() const { return shape.num_heads + shape.num_kv_heads; }
  // Arguments that are there with norms only.
  Floats* if_norms(Floats& values) const { return norms ? &values : nullptr; }
  ops::reference::RopeCase reference() const {
    return {shape,
            rows,
            norms ? to_double(q_norm) : Doubles(),
            norms ? to_double(k_norm) : Doubles(),
            to_double(cos),
            to_double(sin),
            positions,
            kEps};
  }
};

Case make_case(Random& random, const ops::QkvShape& shape, std::int64_t rows, bool norms) {
  Case c = {shape,
            rows,
            norms,
            random.normal(rows * shape.width(), 2.0F),
            random.gains(shape.head_dim),
            random.gains(shape.head_dim),
            {},
            {},
            random.below(rows, kPositions)};
  for (std::int64_t i = 0; i < kPositions * shape.head_dim / 2; ++i) {
    const float angle = 6.3F * random.uniform();
    c.cos.push_back(std::cos(angle));
    c.sin.push_back(std::sin(angle));
  }
  return c;
}

void run_forward(const ops::Context& ctx, Case& c, const Tensor& out, Floats& rstd, const Tensor& qkv) {
  const std::int64_t d = c.shape.head_dim;
  ops::qk_norm_rope_forward(ctx, out, f32(ctx, c.if_norms(rstd), {c.rows, c.rotated()}), qkv,
                            on(ctx, c.if_norms(c.q_norm), {d}), on(ctx, c.if_norms(c.k_norm), {d}),
                            f32(ctx, c.cos, {kPositions, d / 2}), f32(ctx, c.sin, {kPositions, d / 2}),
                            i32(ctx, c.positions, {c.rows}), c.shape, kEps);
}

std::vector<Case> cases(Random& random) {
  std::vector<Case> list;
  for (const bool norms : {true, false}) {
    list.push_back(make_case(random, {1, 1, 2}, 1, norms));
    list.push_back(make_case(random, {4, 2, 8}, 13, norms));
    list.push_back(make_case(random, {6, 1, 40}, 65, norms));
    list.push_back(make_case(random, {3, 3, 64}, 7, norms));
    list.push_back(make_case(random, {4, 2, 80}, 5, norms));
    list.push_back(make_case(random, {2, 1, 256}, 9, norms));
    list.push_back(make_case(random, {4, 1, 128}, random.between(1, 130), norms));
    list.push_back(make_case(random, {16, 8, 128}, 33, norms));  // Qwen3-0.6B
  }
  return list;
}

struct Forward {
  Floats out, rstd;
};
Forward forward(const ops::Context& ctx, Case& c) {
  Forward f = {poisoned(c.rows * c.shape.width()), c.norms ? poisoned(c.rows * c.rotated()) : Floats()};
  run_forward(ctx, c, on(ctx, f.out, {c.rows, c.shape.width()}), f.rstd,
              on(ctx, c.qkv, {c.rows, c.shape.width()}));
  return f;
}

struct Backward {
  Floats dqkv, dq_norm, dk_norm;
};
void run_backward(const ops::Context& ctx, Case& c, Backward& b, const Tensor& dqkv, const Tensor& dout,
                  Floats& rstd) {
  const std::int64_t d = c.shape.head_dim;
  ops::qk_norm_rope_backward(
      ctx, dqkv, f32(ctx, c.if_norms(b.dq_norm), {d}), f32(ctx, c.if_norms(b.dk_norm), {d}), dout,
      on(ctx, c.qkv, {c.rows, c.shape.width()}), f32(ctx, c.if_norms(rstd), {c.rows, c.rotated()}),
      on(ctx, c.if_norms(c.q_norm), {d}), on(ctx, c.if_norms(c.k_norm), {d}),
      f32(ctx, c.cos, {kPositions, d / 2}), f32(ctx, c.sin, {kPositions, d / 2}),
      i32(ctx, c.positions, {c.rows}), c.shape, kEps);
}
Backward backward(const ops::Context& ctx, Case& c, Floats& dout, Floats& rstd, bool in_place = false) {
  Backward b = {in_place ? dout : poisoned(c.rows * c.shape.width()), Floats(c.shape.head_dim, 0.25F),
                Floats(c.shape.head_dim, -0.5F)};
  const std::initializer_list<std::int64_t> shape = {c.rows, c.shape.width()};
  {
    const Mirror dqkv = on(ctx, b.dqkv, shape);
    run_backward(ctx, c, b, dqkv, in_place ? dqkv.tensor() : Tensor(on(ctx, dout, shape)), rstd);
  }
  return b;
}

TEST_P(Rope, ForwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (Case& c : cases(random)) {
    const Forward f = forward(ctx, c);
    expect_close(f.out, ops::reference::qk_norm_rope_forward(c.reference(), to_double(c.qkv)),
                 tolerance(ctx, 1e-6), "out");
    // In place.
    Case copy = c;
    Floats rstd = poisoned(c.rows * c.rotated());
    {
      const Mirror same = on(ctx, copy.qkv, {c.rows, c.shape.width()});
      run_forward(ctx, copy, same, rstd, same);
    }
    expect_same_bits(copy.qkv, f.out, "in place");
    if (HasFatalFailure()) return;
  }
}

TEST(RopeReference, BackwardAgreesWithFiniteDifferences) {
  Random random;
  Case c = make_case(random, {4, 2, 6}, 3, true);
  const auto r = c.reference();
  const Doubles qkv = to_double(c.qkv);
  const Doubles dout = to_double(random.normal(static_cast<std::int64_t>(qkv.size())));
  const auto g = ops::reference::qk_norm_rope_backward(r, dout, qkv);
  expect_gradient(
      [&](const Doubles& v) { return weighted_sum(ops::reference::qk_norm_rope_forward(r, v), dout); }, qkv,
      g.dqkv, random, "qkv");
  const auto with_q = [&](const Doubles& v) {
    auto changed = r;
    changed.q_norm = v;
    return weighted_sum(ops::reference::qk_norm_rope_forward(changed, qkv), dout);
  };
  expect_gradient(with_q, r.q_norm, g.dq_norm, random, "q_norm");
  const auto with_k = [&](const Doubles& v) {
    auto changed = r;
    changed.k_norm = v;
    return weighted_sum(ops::reference::qk_norm_rope_forward(changed, qkv), dout);
  };
  expect_gradient(with_k, r.k_norm, g.dk_norm, random, "k_norm");
}

TEST_P(Rope, BackwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (Case& c : cases(random)) {
    Forward f = forward(ctx, c);
    Floats dout = random.normal(c.rows * c.shape.width());
    const Backward b = backward(ctx, c, dout, f.rstd);
    auto expected = ops::reference::qk_norm_rope_backward(c.reference(), to_double(dout), to_double(c.qkv));
    expect_close(b.dqkv, expected.dqkv, tolerance(ctx, 2e-6), "dqkv");
    for (double& value : expected.dq_norm) value += 0.25;
    for (double& value : expected.dk_norm) value += -0.5;
    expect_close(b.dq_norm, expected.dq_norm, tolerance_f32(ctx, 4e-6), "dq_norm");
    expect_close(b.dk_norm, expected.dk_norm, tolerance_f32(ctx, 4e-6), "dk_norm");
    expect_same_bits(backward(ctx, c, dout, f.rstd, true).dqkv, b.dqkv, "in place");
    if (HasFatalFailure()) return;
  }
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Rope, SameBits) {
  const ops::Context device = context();
  Random random(device);
  for (const bool norms : {true, false}) {
    Case c = make_case(random, {6, 2, 80}, 333, norms);
    Floats dout = random.normal(c.rows * c.shape.width());
    same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          Forward f = forward(ctx, c);
          const Backward b = backward(ctx, c, dout, f.rstd);
          Floats all = f.out;
          append(all, f.rstd);
          append(all, b.dqkv);
          append(all, b.dq_norm);
          append(all, b.dk_norm);
          return all;
        },
        "rope");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Rope, NoRows) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, {2, 1, 64}, 1, true);
  c.rows = 0;
  Floats out(1), rstd(1), dout(1);
  run_forward(ctx, c, on(ctx, out, {0, c.shape.width()}), rstd, on(ctx, c.qkv, {0, c.shape.width()}));
  Backward b = {Floats(1), Floats(64, 0.25F), Floats(64, -0.5F)};
  run_backward(ctx, c, b, on(ctx, b.dqkv, {0, c.shape.width()}), on(ctx, dout, {0, c.shape.width()}), rstd);
  expect_same_bits(b.dq_norm, Floats(64, 0.25F), "dq_norm");
  expect_same_bits(b.dk_norm, Floats(64, -0.5F), "dk_norm");
}

TEST(RopeChecks, PositionsOutsideTheTableAreRefused) {
  Random random;
  Case c = make_case(random, {2, 1, 4}, 2, false);
  c.positions[1] = kPositions;
  EXPECT_THROW(forward(cpu_context(), c), Error);
}

}  // namespace
}  // namespace rlcpp::test
