#include "ops/cpu/scratch.h"

#include <array>
#include <cstddef>
#include <memory>
#include <new>

namespace rlcpp::ops::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Release {
  void operator()(float* memory) const { ::operator delete[](memory, kAlignment); }
};

struct Buffer {
  std::unique_ptr<float[], Release> memory;
  std::int64_t floats = 0;
};

}  // namespace

float* thread_scratch(Scratch slot, std::int64_t floats) {
  thread_local std::array<Buffer, static_cast<std::size_t>(Scratch::kCount)> buffers;
  Buffer& buffer = buffers[static_cast<std::size_t>(slot)];
  if (buffer.floats < floats) {
    buffer.memory.reset();
    buffer.floats = 0;
    const std::int64_t rounded = (floats + 1023) / 1024 * 1024;
    buffer.memory.reset(
        static_cast<float*>(::operator new[](static_cast<std::size_t>(rounded) * sizeof(float), kAlignment)));
    buffer.floats = rounded;
  }
  return buffer.memory.get();
}

}  // namespace rlcpp::ops::cpu
