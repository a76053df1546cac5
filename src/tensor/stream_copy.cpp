#include "tensor/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace rlcpp {

void stream_copy(std::span<std::byte> to, const std::byte* from) {
  std::byte* out = to.data();
  std::size_t left = to.size();
#ifdef __SSE2__
  constexpr std::size_t kLine = 64, kWord = sizeof(__m128i);
  // Whole lines alone: a line that is written in part costs more than a copy.
  const std::size_t head = std::min(left, (kLine - reinterpret_cast<std::uintptr_t>(out) % kLine) % kLine);
  if (head > 0) std::memcpy(out, from, head);
  out += head, from += head, left -= head;
  for (; left >= kLine; out += kLine, from += kLine, left -= kLine) {
    __m128i line[kLine / kWord];
    std::memcpy(line, from, kLine);
    for (std::size_t i = 0; i < kLine / kWord; ++i)
      _mm_stream_si128(reinterpret_cast<__m128i*>(out) + i, line[i]);
  }
  _mm_sfence();  // these stores are ordered with nothing, not even with the unlocking of a mutex
#endif
  if (left > 0) std::memcpy(out, from, left);
}

}  // namespace rlcpp
