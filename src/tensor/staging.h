// Large amounts between a device and ordinary host memory, for checkpoints. Pieces pass through two pinned
// buffers of the object: the bus fills one while the processor empties the other. On the CPU it is a memcpy.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/device.h"

namespace rlcpp {

// Implemented by tensor/cuda or tensor/cuda_stub.
namespace cuda::staging {
// Host memory that the device reads and writes by itself, and a stream that waits for no other. Each throws
// runtime_failure with the CUDA error.
void* allocate_pinned(std::size_t bytes, Device device);
void release_pinned(void* memory) noexcept;
void* make_stream(Device device);
void release_stream(void* stream) noexcept;
void copy_on(void* stream, void* to, const void* from, std::size_t bytes);  // begins it
void finish(void* stream);  // returns when all that was begun on it is done
}  // namespace cuda::staging

// One thread uses it at a time. Nothing orders its copies against other work of the device: whoever calls
// makes sure that the device has finished writing what is read (ops::synchronize), and that nobody writes it
// meanwhile.
class Stager {
 public:
  static constexpr std::size_t kPinnedBytes = std::size_t{4} << 20;

  explicit Stager(Device device);
  ~Stager();
  Stager(const Stager&) = delete;
  Stager& operator=(const Stager&) = delete;

  // `from`, `to`: memory of `device`, or of the host if that is the CPU. Both return when done.
  void to_host(std::span<std::byte> to, const void* from, Device device);
  void to_device(void* to, Device device, std::span<const std::byte> from);

 private:
  static constexpr std::size_t kSlot = kPinnedBytes / 2;
  void release() noexcept;
  std::byte* pinned_ = nullptr;
  void* streams_[2] = {nullptr, nullptr};
};

}  // namespace rlcpp
