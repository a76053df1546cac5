// Cases shared by the tests of linear layers.
#pragma once

#include "ops/matmul.h"
#include "ops/ops_support.h"

namespace rlcpp::test {

struct LinearShape {
  std::int64_t m, n, k;
};
inline std::string text(const LinearShape& s) {
  return std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k);
}

// Odd sizes, primes, edges of the register block (14 and 32), of the tile (112) and of the step over k (512).
inline std::vector<LinearShape> linear_shapes(Random& random) {
  std::vector<LinearShape> list = {{1, 1, 1},      {1, 32, 16},     {3, 5, 7},       {14, 32, 64},
                                   {15, 33, 65},   {16, 48, 512},   {17, 31, 513},   {113, 96, 41},
                                   {29, 257, 129}, {225, 70, 1030}, {2, 1031, 1100}, {1, 300, 700},
                                   {3, 129, 530},  {4, 256, 20},    {64, 16, 4}};
  for (int i = 0; i < 4; ++i)
    list.push_back({random.between(1, 150), random.between(1, 150), random.between(1, 700)});
  return list;
}

// Empty on a GPU, which has no packed form.
inline Floats packed_of(const ops::Context& ctx, Floats& w, const LinearShape& s) {
  Floats packed = poisoned(ops::packed_weight_size(ctx, s.n, s.k));
  ops::pack_weight(ctx, on(ctx, packed, {static_cast<std::int64_t>(packed.size())}), on(ctx, w, {s.n, s.k}));
  return packed;
}

inline Floats linear(const ops::Context& ctx, const LinearShape& s, Floats& x, Floats& w, Floats* packed,
                     Floats* bias, const Floats* old = nullptr) {
  Floats y = old != nullptr ? *old : poisoned(s.m * s.n);
  Floats* const form = packed != nullptr && !packed->empty() ? packed : nullptr;
  ops::linear_forward(ctx, on(ctx, y, {s.m, s.n}), on(ctx, x, {s.m, s.k}), on(ctx, w, {s.n, s.k}),
                      on(ctx, form, {form != nullptr ? static_cast<std::int64_t>(form->size()) : 0}),
                      on(ctx, bias, {s.n}), old != nullptr);
  return y;
}

inline void linear_input(const ops::Context& ctx, const LinearShape& s, Floats& dx, Floats& dy, Floats& w,
                         bool accumulate) {
  ops::linear_backward_input(ctx, on(ctx, dx, {s.m, s.k}), on(ctx, dy, {s.m, s.n}), on(ctx, w, {s.n, s.k}),
                             accumulate);
}
inline void linear_weight(const ops::Context& ctx, const LinearShape& s, Floats& dw, Floats& dy, Floats& x,
                          bool accumulate) {
  ops::linear_backward_weight(ctx, f32(ctx, dw, {s.n, s.k}), on(ctx, dy, {s.m, s.n}), on(ctx, x, {s.m, s.k}),
                              accumulate);
}
inline void linear_bias(const ops::Context& ctx, const LinearShape& s, Floats& db, Floats& dy,
                        bool accumulate) {
  ops::linear_backward_bias(ctx, f32(ctx, db, {s.n}), on(ctx, dy, {s.m, s.n}), accumulate);
}

}  // namespace rlcpp::test
