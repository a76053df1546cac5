// Python's `random` module for whole numbers: workloads that a Python script defines by its seed are the same
// here, number for number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rlcpp::bench {

// random.Random(seed) of CPython 3: MT19937 (Matsumoto and Nishimura 1998), seeded by init_by_array of the
// 32-bit words of the seed's absolute value (Modules/_randommodule.c).
class PythonRandom {
 public:
  explicit PythonRandom(std::uint64_t seed);

  // getrandbits(bits), 1 <= bits <= 32.
  std::uint32_t bits(int bits);
  // randint(least, most), both included; least <= most, and at most 2^32 - 1 apart.
  std::int64_t randint(std::int64_t least, std::int64_t most);

 private:
  static constexpr std::size_t kWords = 624;
  std::uint32_t next();
  void refill();

  std::array<std::uint32_t, kWords> state_{};
  std::size_t at_ = kWords;
};

}  // namespace rlcpp::bench
