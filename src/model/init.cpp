// Random initial weights. Element i of an HF tensor is a pure function of (seed, the tensor's name, i), and
// of IEEE additions, multiplications and square roots alone: libm's logarithm and cosine differ between
// machines, ours do not.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string_view>

#include "base/rng.h"
#include "model/weights.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

constexpr std::int64_t kLanes = 64;  // Philox blocks worked on side by side, so that compilers vectorise
constexpr std::int64_t kBatch = 4 * kLanes;            // values of one call
constexpr std::int64_t kTask = std::int64_t{1} << 20;  // values of one task: a multiple of kBatch

// Values on their way to a GPU that the host holds before it sends them: a parameter more at most.
constexpr std::size_t kStaged = std::size_t{1} << 26;

using Lanes = std::array<float, kLanes>;
using Words = std::array<std::uint32_t, kLanes>;

// FNV-1a, spread by mix64.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(hash);
}

// ln(x) for x in (0, 1], relative error below 1e-6: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and the series
// of ln m = 2 atanh(t), t = (m - 1) / (m + 1).
inline float log_positive(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t shifted = bits - 0x3f3504f3U;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float m = std::bit_cast<float>((shifted & 0x007fffffU) + 0x3f3504f3U);
  const float t = (m - 1.0F) / (m + 1.0F);
  const float s = t * t;
  const float series = 2.0F + s * (0.66666667F + s * (0.4F + s * (0.28571429F + s * 0.22222222F)));
  return exponent * 0.69314718F + t * series;
}

// cos and sin of 2 pi u, u in [0, 1), absolute error below 1e-6: Taylor's series of a quarter turn about its
// middle.
inline void turn(float u, float& cosine, float& sine) {
  const auto quarter = static_cast<std::int32_t>(u * 4.0F);
  const float a = (u * 4.0F - static_cast<float>(quarter) - 0.5F) * 1.57079633F;  // in [-pi/4, pi/4)
  const float s = a * a;
  const float c0 = 1.0F + s * (-0.5F + s * (0.041666668F + s * (-0.0013888889F + s * 2.4801587e-5F)));
  const float s0 =
      a * (1.0F + s * (-0.16666667F + s * (0.0083333338F + s * (-0.00019841270F + s * 2.7557319e-6F))));
  // The angle is a + (quarter + 1/2) quarter turns: first the half turn of a quarter, then whole quarters.
  const auto c1 = std::bit_cast<std::uint32_t>((c0 - s0) * 0.70710678F);
  const auto s1 = std::bit_cast<std::uint32_t>((c0 + s0) * 0.70710678F);
  // A quarter turn is (c, s) -> (-s, c), a half turn (-c, -s): by masks, since a branch would keep the loop
  // scalar.
  const auto q = static_cast<std::uint32_t>(quarter);
  const std::uint32_t swap = (c1 ^ s1) & (0U - (q & 1U));
  const std::uint32_t half = (q & 2U) << 30;
  cosine = std::bit_cast<float>((c1 ^ swap) ^ ((q & 1U) << 31) ^ half);
  sine = std::bit_cast<float>((s1 ^ swap) ^ half);
}

// Philox4x32-10 of kLanes consecutive counters: the same words as philox4x32.
void philox_lanes(std::uint64_t first, std::uint64_t stream, std::uint64_t seed,
                  std::array<Words, 4>& words) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint64_t counter = first + i;
    words[0][i] = static_cast<std::uint32_t>(counter);
    words[1][i] = static_cast<std::uint32_t>(counter >> 32);
    words[2][i] = static_cast<std::uint32_t>(stream);
    words[3][i] = static_cast<std::uint32_t>(stream >> 32);
  }
  auto k0 = static_cast<std::uint32_t>(seed);
  auto k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * words[0][i];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * words[2][i];
      words[0][i] = static_cast<std::uint32_t>(p1 >> 32) ^ words[1][i] ^ k0;
      words[2][i] = static_cast<std::uint32_t>(p0 >> 32) ^ words[3][i] ^ k1;
      words[1][i] = static_cast<std::uint32_t>(p1);
      words[3][i] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
}

// kBatch standard normals by Box and Muller: a Philox block gives two pairs. Layout: value w of lane i at w *
// kLanes + i.
void normal_batch(std::uint64_t first, std::uint64_t stream, std::uint64_t seed, std::array<Lanes, 4>& out) {
  std::array<Words, 4> words;
  philox_lanes(first, stream, seed, words);
  // Three loops, since the call of sqrt (it may set errno) would keep a single one scalar.
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    Lanes radius;
    for (std::size_t i = 0; i < kLanes; ++i) {
      // Both uniforms have 24 bits; this one is in (0, 1], so that the logarithm stays finite: the largest
      // value is 5.8.
      const float u = (static_cast<float>(static_cast<std::int32_t>(words[pair][i] >> 8)) + 1.0F) * 0x1p-24F;
      radius[i] = -2.0F * log_positive(u);
    }
    for (float& value : radius) value = std::sqrt(value);
    for (std::size_t i = 0; i < kLanes; ++i) {
      float cosine = 0, sine = 0;
      turn(static_cast<float>(static_cast<std::int32_t>(words[pair + 1][i] >> 8)) * 0x1p-24F, cosine, sine);
      out[pair][i] = radius[i] * cosine;
      out[pair + 1][i] = radius[i] * sine;
    }
  }
}

// values[i] = range * normal(begin + i); begin is a multiple of kBatch.
void fill_normal(std::span<float> values, std::int64_t begin, std::uint64_t stream, std::uint64_t seed,
                 float range) {
  std::array<Lanes, 4> batch;
  for (std::size_t at = 0; at < values.size(); at += kBatch) {
    const std::uint64_t first = (static_cast<std::uint64_t>(begin) + at) / 4;
    normal_batch(first, stream, seed, batch);
    const std::size_t count = std::min<std::size_t>(kBatch, values.size() - at);
    for (std::size_t i = 0; i < count; ++i) values[at + i] = range * batch[i / kLanes][i % kLanes];
  }
}

struct Task {
  std::span<float> values;
  std::int64_t begin;
  std::uint64_t stream;
};

}  // namespace

void init_random(const ModelConfig& config, const WeightSet& weights, std::uint64_t seed, ThreadPool* pool) {
  const std::vector<ParameterInfo> list = parameter_list(config);
  RLCPP_CHECK(list.size() == weights.flat.size());
  const auto range = static_cast<float>(config.initializer_range);
  std::vector<Task> tasks;
  std::vector<HostFloats> hosts;  // one of each parameter: spans of tasks point into them
  hosts.reserve(list.size());
  std::size_t staged = 0;
  const auto work_off = [&] {
    const auto run = [&](std::int64_t i) {
      const Task& task = tasks[static_cast<std::size_t>(i)];
      fill_normal(task.values, task.begin, task.stream, seed, range);
    };
    const auto count = static_cast<std::int64_t>(tasks.size());
    if (pool != nullptr) {
      pool->parallel_for(count, run);
    } else {
      for (std::int64_t i = 0; i < count; ++i) run(i);
    }
    for (const HostFloats& host : hosts) host.store();
    tasks.clear();
    hosts.clear();
    staged = 0;
  };
  for (std::size_t p = 0; p < list.size(); ++p) {
    const std::span<float> values = hosts.emplace_back(weights.flat[p], false).values();
    staged += values.size();
    if (list[p].shape.size() == 1) {
      // Vectors are norms, which start at one, and biases, which start at zero.
      const bool norm = list[p].name.ends_with("norm");
      std::fill(values.begin(), values.end(), norm ? 1.0F : 0.0F);
    }
    for (const HfSlice& slice : list[p].slices) {
      if (slice.shape.size() == 1) continue;
      const std::size_t width = static_cast<std::size_t>(slice.shape[1]);
      const std::span<float> all = values.subspan(static_cast<std::size_t>(slice.row) * width,
                                                  static_cast<std::size_t>(slice.shape[0]) * width);
      const std::uint64_t stream = hash_of(slice.name);
      for (std::size_t begin = 0; begin < all.size(); begin += kTask) {
        tasks.push_back({all.subspan(begin, std::min<std::size_t>(kTask, all.size() - begin)),
                         static_cast<std::int64_t>(begin), stream});
      }
    }
    if (staged >= kStaged) work_off();
  }
  work_off();
}

}  // namespace rlcpp::model
