#include "dist/reduce.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "base/error.h"
#include "tensor/dtype.h"

namespace rlcpp::dist {
namespace {

struct AsIs {
  template <class T>
  static T load(T value) {
    return value;
  }
  template <class T>
  static T store(T value) {
    return value;
  }
};
struct Bf16 {
  static float load(std::uint16_t bits) { return bf16_to_f32(bits); }
  static std::uint16_t store(float value) { return f32_to_bf16(value); }
};

template <class T>
T combined(T a, T b, Reduction reduction) {
  if (reduction == Reduction::kMax) return b > a ? b : a;
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

// A block at a time, in memory of its own: outputs may be inputs.
template <class T, class Sum, class Conversion>
void reduce(Reduction reduction, std::span<void* const> outs, std::span<const void* const> ins,
            std::int64_t begin, std::int64_t count) {
  constexpr std::int64_t kBlock = 1024;
  std::array<Sum, kBlock> sum;
  for (std::int64_t at = begin; at < begin + count; at += kBlock) {
    const std::int64_t n = std::min(kBlock, begin + count - at);
    for (std::size_t rank = 0; rank < ins.size(); ++rank) {
      const T* in = static_cast<const T*>(ins[rank]) + at;
      for (std::int64_t i = 0; i < n; ++i) {
        const Sum value = Conversion::load(in[i]);
        Sum& s = sum[static_cast<std::size_t>(i)];
        s = rank == 0 ? value : combined(s, value, reduction);
      }
    }
    T* first = static_cast<T*>(outs[0]) + at;
    for (std::int64_t i = 0; i < n; ++i) first[i] = Conversion::store(sum[static_cast<std::size_t>(i)]);
    for (std::size_t k = 1; k < outs.size(); ++k) std::copy_n(first, n, static_cast<T*>(outs[k]) + at);
  }
}

}  // namespace

void reduce_in_order(DType type, Reduction reduction, std::span<void* const> outs,
                     std::span<const void* const> ins, std::int64_t begin, std::int64_t count) {
  switch (type) {
    case DType::kF32:
      return reduce<float, float, AsIs>(reduction, outs, ins, begin, count);
    case DType::kF64:
      return reduce<double, double, AsIs>(reduction, outs, ins, begin, count);
    case DType::kI64:
      return reduce<std::int64_t, std::int64_t, AsIs>(reduction, outs, ins, begin, count);
    case DType::kBF16:
      return reduce<std::uint16_t, float, Bf16>(reduction, outs, ins, begin, count);
    default:
      RLCPP_CHECK(false);  // Communicator refuses other types
  }
}

}  // namespace rlcpp::dist
