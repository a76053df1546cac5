// Shared by the tests of operations: random inputs, comparison with the float64 reference, and running one
// case in every way that must give the same bits.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "ops/back_ends.h"
#include "ops/cpu/kernels.h"
#include "ops/mirror.h"
#include "support.h"

namespace rlcpp::test {

using Doubles = std::vector<double>;

inline Doubles to_double(const Floats& values) {
  return Doubles(values.begin(), values.end());
}

// What an operation must overwrite: reading it shows up as NaN.
inline Floats poisoned(std::int64_t size) {
  return Floats(static_cast<std::size_t>(size), std::numeric_limits<float>::quiet_NaN());
}

// Fresh random values; the seed of a failing test is in its recorded property.
class Random {
 public:
  Random() : rng_(fresh_seed()) {}
  // Values in the type that `ctx` computes in: the operation and the reference must see the same inputs.
  explicit Random(const ops::Context& ctx) : rng_(fresh_seed()), type_(ctx.compute_type()) {}
  Floats normal(std::int64_t size, float scale = 1.0F, float mean = 0.0F) {
    Floats values(static_cast<std::size_t>(size));
    for (float& value : values) {
      value = mean + scale * rng_.normal();
      if (type_ == DType::kBF16) value = round_to_bf16(value);
    }
    return values;
  }
  // Around 1: weights of norms.
  Floats gains(std::int64_t size) { return normal(size, 0.3F, 1.0F); }
  Ints below(std::int64_t size, std::int64_t bound) {
    Ints values(static_cast<std::size_t>(size));
    for (std::int32_t& value : values)
      value = static_cast<std::int32_t>(rng_.below(static_cast<std::uint64_t>(bound)));
    return values;
  }
  // Uniform in [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(high - low + 1)));
  }
  float uniform() { return rng_.uniform(); }
  Rng& rng() { return rng_; }

 private:
  Rng rng_;
  DType type_ = DType::kF32;
};

// How far an element may be from the float64 reference: `scale` times (1 + the largest element of the
// result), so absolute for results around 1 and below, and `relative` times the element itself.
struct Tolerance {
  double scale = 0;
  double relative = 0;
};

// A GPU adds in f32 as the CPU does, but in trees and on tensor cores, which cut off instead of rounding, and
// its exp and division are good to 2 ulp, not 1: the bound for f32 results of the CPU times this.
constexpr double kGpuSums = 16;
constexpr double kHalfUlpBf16 = 0x1.02p-8;  // one rounding to bf16, and room for ties that f32 errors turn

// For results in the compute type. `f32`: the bound where everything is f32. On CUDA the result is rounded to
// bf16 once, at the end; `inner` is for operations that round on their way (probabilities before a product,
// say), in units of the result's scale.
inline Tolerance tolerance(const ops::Context& ctx, double f32_bound, double inner = 0) {
  if (!ctx.on_gpu()) return {f32_bound, 0};
  return {kGpuSums * f32_bound + inner, kHalfUlpBf16};
}
// For results that are f32 on every device: statistics and gradients of weights.
inline Tolerance tolerance_f32(const ops::Context& ctx, double f32_bound, double inner = 0) {
  if (!ctx.on_gpu()) return {f32_bound, 0};
  return {kGpuSums * f32_bound + inner, 0};
}

// NaN fails.
inline void expect_close(const Floats& actual, const Doubles& expected, const Tolerance& tolerance,
                         const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    const double allowed = tolerance.scale * (1 + largest) + tolerance.relative * std::abs(expected[i]);
    ASSERT_TRUE(error <= allowed) << what << ": element " << i << " is " << actual[i] << ", expected "
                                  << expected[i] << " within " << allowed;
  }
}
inline void expect_close(const Floats& actual, const Doubles& expected, double scale,
                         const std::string& what) {
  expect_close(actual, expected, Tolerance{scale, 0}, what);
}

inline void expect_same_bits(std::span<const float> actual, std::span<const float> expected,
                             const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(float)), 0)
        << what << ": element " << i << " is " << actual[i] << ", elsewhere " << expected[i];
  }
}

// Runs `outputs` with every instruction set of this machine and 1, 2 and 3 threads, and asserts that all give
// the same bits. Returns them.
inline Floats same_bits_everywhere(const std::function<Floats(const ops::Context&)>& outputs,
                                   const std::string& what) {
  const Floats first = outputs(cpu_context(1));
  for (const ops::cpu::Kernels* kernels : ops::cpu::available_kernels()) {
    for (const int threads : {1, 2, 3}) {
      ops::Context ctx = cpu_context(threads);
      ctx.kernels = kernels;
      expect_same_bits(outputs(ctx), first,
                       what + " with " + kernels->name + ", " + std::to_string(threads) + " threads");
      if (::testing::Test::HasFatalFailure()) return first;
    }
  }
  return first;
}

// The same on the CPU. On a GPU, which promises less: the same inputs give the same bits again.
inline Floats same_bits_again(const ops::Context& ctx,
                              const std::function<Floats(const ops::Context&)>& outputs,
                              const std::string& what) {
  if (!ctx.on_gpu()) return same_bits_everywhere(outputs, what);
  const Floats first = outputs(ctx);
  for (int run = 0; run < 3; ++run) {
    expect_same_bits(outputs(ctx), first, what + " once more");
    if (::testing::Test::HasFatalFailure()) break;
  }
  return first;
}

inline void append(Floats& to, const Floats& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Checks a float64 gradient against central differences of f at a few coordinates: f is the loss as a
// function of x.
inline void expect_gradient(const std::function<double(const Doubles&)>& loss, Doubles x,
                            const Doubles& gradient, Random& random, const std::string& what) {
  ASSERT_EQ(x.size(), gradient.size()) << what;
  for (int trial = 0; trial < 12; ++trial) {
    const auto i = static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(x.size()) - 1));
    const double kept = x[i];
    const double step = 1e-5;
    x[i] = kept + step;
    const double up = loss(x);
    x[i] = kept - step;
    const double down = loss(x);
    x[i] = kept;
    const double measured = (up - down) / (2 * step);
    ASSERT_NEAR(measured, gradient[i], 1e-6 * (1 + std::abs(gradient[i]))) << what << ": coordinate " << i;
  }
}

inline double weighted_sum(const Doubles& values, const Doubles& weights) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * weights[i];
  return sum;
}

}  // namespace rlcpp::test
