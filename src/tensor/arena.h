// Planned memory. Before anything is allocated, every room adds what it needs to a MemoryPlan: named regions
// in categories. The plan is printed and checked against a limit; then one Arena allocates all of it at once,
// and tensors are views into it. Nothing is allocated during a step. A plan for a GPU may also hold regions
// in the host's memory, which are counted apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace rlcpp {

// The rows of the printed plan, in its order.
enum class MemoryUse : std::uint8_t {
  kWeights,
  kGradients,
  kOptimizer,
  kActivations,
  kLogits,
  kKvCache,
  kCommunication,
  kWorkspace,
  // In the host's memory, whatever the arena's device: what a GPU does not hold itself.
  kHostOptimizer,
  kHostActivations
};
// All of them, in this order.
std::span<const MemoryUse> memory_uses();
std::string_view name_of(MemoryUse use);
constexpr bool on_host(MemoryUse use) {
  return use >= MemoryUse::kHostOptimizer;
}

// A handle to a region of a plan; valid for the Arena made from that plan.
struct RegionId {
  std::int32_t index = -1;
};

class MemoryPlan {
 public:
  // Adds a region of `shape` elements. Offsets are aligned to 256 bytes. `name` appears in the plan and in
  // errors.
  RegionId add(MemoryUse use, std::string name, DType type, std::initializer_list<std::int64_t> shape);
  RegionId add(MemoryUse use, std::string name, DType type, std::span<const std::int64_t> shape);

  // Adds a region that shares the bytes of `other` from `offset` bytes on (same lifetime, never used
  // together), and ends inside it. `use` is where the plan shows it, without counting it.
  RegionId alias(RegionId other, MemoryUse use, std::string name, DType type,
                 std::initializer_list<std::int64_t> shape, std::size_t offset = 0);
  RegionId alias(RegionId other, MemoryUse use, std::string name, DType type,
                 std::span<const std::int64_t> shape, std::size_t offset = 0);

  std::size_t total_bytes() const { return total_; }      // on the arena's device
  std::size_t host_bytes() const { return host_total_; }  // of the uses that are on_host()
  std::size_t bytes_of(MemoryUse use) const;

  // A table: one line a use, then free of `limit_bytes` (0 = unknown), then what lies in the host's memory.
  // Stage of the start banner and of --dry-run.
  std::string table(std::size_t limit_bytes) const;

  // Throws environment_error with the missing GiB and `options` (one line each, smallest change first) if the
  // plan is larger than the limit. limit_bytes = 0 means no limit.
  void require_fits(std::size_t limit_bytes, const std::vector<std::string>& options) const;

  struct Region {
    MemoryUse use;
    std::string name;
    DType type;
    std::vector<std::int64_t> shape;
    std::size_t offset;  // in the device's memory, or in the host's
    bool shared;         // an alias: not counted again
    bool listed = true;  // false: a part of a region of its own use, which the table need not name
  };
  const std::vector<Region>& regions() const { return regions_; }

 private:
  std::vector<Region> regions_;
  std::size_t total_ = 0, host_total_ = 0;
};

class Arena {
 public:
  // Allocates the plan on `device`; zeroed; host memory is advised to use large pages. Regions in the host's
  // memory are pinned if the device is a GPU, so that it copies them by itself, unless `pin_host` is false.
  // Throws environment_error.
  Arena(MemoryPlan plan, Device device, bool pin_host = true);
  ~Arena();
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) = delete;

  Tensor operator[](RegionId id) const;
  const MemoryPlan& plan() const { return plan_; }
  Device device() const { return device_; }

  // Fills a region (or everything) with NaN or 0xFF bytes, so that a read of something never written shows
  // up.
  void poison(RegionId id) const;
  void poison_all() const;

 private:
  void release() noexcept;

  MemoryPlan plan_;
  Device device_;
  void* base_ = nullptr;
  void* host_ = nullptr;
  bool pinned_ = false;
};

}  // namespace rlcpp
