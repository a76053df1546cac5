// Shared by the tests of operations: owned buffers seen as Tensors, random inputs, comparison with the
// float64 reference, and running one case with every instruction set and several numbers of threads.
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
#include "ops/context.h"
#include "ops/cpu/kernels.h"
#include "support.h"

namespace rlcpp::test {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Ints = std::vector<std::int32_t>;

inline Tensor view(Floats& values, std::initializer_list<std::int64_t> shape) {
  return Tensor(values.data(), DType::kF32, shape);
}
inline Tensor view(Ints& values, std::initializer_list<std::int64_t> shape) {
  return Tensor(values.data(), DType::kI32, shape);
}

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
  Floats normal(std::int64_t size, float scale = 1.0F) {
    Floats values(static_cast<std::size_t>(size));
    for (float& value : values) value = scale * rng_.normal();
    return values;
  }
  // Around 1: weights of norms.
  Floats gains(std::int64_t size) {
    Floats values = normal(size, 0.3F);
    for (float& value : values) value += 1.0F;
    return values;
  }
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
};

// max |a - b| <= tolerance * (1 + largest |b|): absolute for values around 1 and below, relative to the scale
// of the result above. NaN fails.
inline void expect_close(const Floats& actual, const Doubles& expected, double tolerance,
                         const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    ASSERT_TRUE(error <= tolerance * (1 + largest))
        << what << ": element " << i << " is " << actual[i] << ", expected " << expected[i];
  }
}

inline void expect_same_bits(std::span<const float> actual, std::span<const float> expected,
                             const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(float)), 0)
        << what << ": element " << i << " is " << actual[i] << ", elsewhere " << expected[i];
  }
}

// One pool of each size for the whole program: starting threads costs more than most cases.
inline ThreadPool& shared_pool(int threads) {
  static ThreadPool one(1);
  static ThreadPool two(2);
  static ThreadPool three(3);
  return threads == 1 ? one : threads == 2 ? two : three;
}

inline ops::Context cpu_context(int threads = 2) {
  return ops::make_context(Device{}, shared_pool(threads));
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
