// Large amounts between a device and ordinary host memory, for checkpoints. Pieces pass through pinned slots
// of the object, each with a stream of its own: the bus fills some while the processor empties another. On
// the CPU it is a copy of memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "tensor/device.h"

namespace rlcpp {

// Implemented by tensor/cuda or tensor/cuda_stub.
namespace cuda::staging {
// Host memory that the device reads and writes by itself, and a stream that waits for no other. Each throws
// runtime_failure with the CUDA error.
void* allocate_pinned(std::size_t bytes, Device device);
void release_pinned(void* memory) noexcept;
struct Unpin {
  void operator()(void* memory) const noexcept { release_pinned(memory); }
};
using Pinned = std::unique_ptr<void, Unpin>;  // of allocate_pinned()
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

  // The same as to_host in two halves, so that the bus works while the caller prepares the next copy: `to` is
  // complete, for any thread that this one tells, when finish() has returned for the ticket of this call or
  // of a later one. Written past the caches (tensor/stream_copy.h). `to` and `from` must stay until then.
  using Ticket = std::uint64_t;
  Ticket begin_to_host(std::span<std::byte> to, const void* from, Device device);
  void finish(Ticket ticket);
  // The ticket of the newest copy that was begun.
  Ticket newest() const { return begun_; }
  // Copies that were begun and not finished never reach their `to`.
  void drop();

 private:
  // Four of 1 MiB: a slot lasts 20 us on the bus and up to 200 us on a core, and what the bus has written is
  // still in the last-level cache when it is copied on.
  static constexpr std::size_t kSlots = 4, kSlot = kPinnedBytes / kSlots;
  struct Piece {
    std::span<std::byte> to;
    bool stream = false;
  };
  Ticket begin(std::span<std::byte> to, const void* from, bool stream);
  void empty_oldest();
  void release() noexcept;
  std::byte* pinned_ = nullptr;
  std::array<void*, kSlots> streams_{};
  std::array<Piece, kSlots> pieces_{};     // what the slots hold: those of [emptied_, begun_)
  std::uint64_t begun_ = 0, emptied_ = 0;  // pieces; piece i goes through slot i mod kSlots
};

}  // namespace rlcpp
