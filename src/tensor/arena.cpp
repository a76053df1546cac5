#include "tensor/arena.h"

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <utility>

#include "tensor/copy.h"

namespace rlcpp {
namespace {

constexpr std::size_t kAlignment = 256;
// Of one plan. Far above any machine, far below where sums of sizes could wrap round.
constexpr std::size_t kLargestPlan = std::size_t{1} << 56;
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr std::array kUses = {MemoryUse::kWeights,        MemoryUse::kGradients, MemoryUse::kOptimizer,
                              MemoryUse::kActivations,    MemoryUse::kLogits,    MemoryUse::kKvCache,
                              MemoryUse::kCommunication,  MemoryUse::kWorkspace, MemoryUse::kHostOptimizer,
                              MemoryUse::kHostActivations};

// "1.50 GiB", below 1 GiB "12.30 MiB", at least `width` characters.
std::string amount_of(std::size_t bytes, int width) {
  std::array<char, 48> text{};
  const bool large = static_cast<double>(bytes) >= kGiB;
  std::snprintf(text.data(), text.size(), "%*.2f %s", width - 4,
                static_cast<double>(bytes) / (large ? kGiB : 1024.0 * 1024.0), large ? "GiB" : "MiB");
  return text.data();
}

std::string line_of(std::string_view label, std::size_t bytes) {
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), "  %-16.*s %s\n", static_cast<int>(label.size()), label.data(),
                amount_of(bytes, 14).c_str());
  return text.data();
}

// The bytes of a region. A configuration with an absurd size must not wrap round to a small plan.
std::size_t bytes_of_region(const std::string& name, DType type, std::span<const std::int64_t> shape) {
  std::size_t bytes = size_of(type);
  bool fits = true;
  for (const std::int64_t extent : shape) {
    RLCPP_CHECK(extent >= 0);
    fits = fits && !__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes);
  }
  if (!fits || bytes > kLargestPlan) {
    std::string text;
    for (const std::int64_t extent : shape) text += (text.empty() ? "" : " x ") + std::to_string(extent);
    throw environment_error("the memory plan does not fit",
                            name + " alone would need " + text + " elements of " + std::string(name_of(type)),
                            "shorten seq_len or the micro-batch, or choose a smaller model");
  }
  return bytes;
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Zeroed memory of the host, on large pages where there are some.
void* allocate_host(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw environment_error("could not allocate the planned memory",
                            std::to_string(bytes) + " bytes were refused by the system",
                            "free memory, or shorten seq_len or the micro-batch");
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  madvise(memory, bytes, MADV_DONTDUMP);
  return memory;
}

}  // namespace

std::span<const MemoryUse> memory_uses() {
  return kUses;
}

std::string_view name_of(MemoryUse use) {
  switch (use) {
    case MemoryUse::kWeights:
      return "weights";
    case MemoryUse::kGradients:
      return "gradients";
    case MemoryUse::kOptimizer:
      return "optimizer";
    case MemoryUse::kActivations:
      return "activations";
    case MemoryUse::kLogits:
      return "logits";
    case MemoryUse::kKvCache:
      return "kv cache";
    case MemoryUse::kCommunication:
      return "communication";
    case MemoryUse::kWorkspace:
      return "workspace";
    case MemoryUse::kHostOptimizer:
      return "host optimizer";
    case MemoryUse::kHostActivations:
      return "host activations";
  }
  return "?";
}

RegionId MemoryPlan::add(MemoryUse use, std::string name, DType type,
                         std::initializer_list<std::int64_t> shape) {
  return add(use, std::move(name), type, std::span<const std::int64_t>(shape.begin(), shape.size()));
}

RegionId MemoryPlan::add(MemoryUse use, std::string name, DType type, std::span<const std::int64_t> shape) {
  const std::size_t bytes = aligned(bytes_of_region(name, type, shape));
  std::size_t& total = on_host(use) ? host_total_ : total_;
  if (total + bytes > kLargestPlan) {
    throw environment_error("the memory plan does not fit",
                            name + " brings it over " + std::to_string(kLargestPlan) + " bytes",
                            "shorten seq_len or the micro-batch, or choose a smaller model");
  }
  regions_.push_back({use, std::move(name), type, {shape.begin(), shape.end()}, total, false});
  total += bytes;
  return {static_cast<std::int32_t>(regions_.size()) - 1};
}

RegionId MemoryPlan::alias(RegionId other, MemoryUse use, std::string name, DType type,
                           std::initializer_list<std::int64_t> shape, std::size_t offset) {
  return alias(other, use, std::move(name), type, std::span<const std::int64_t>(shape.begin(), shape.size()),
               offset);
}

RegionId MemoryPlan::alias(RegionId other, MemoryUse use, std::string name, DType type,
                           std::span<const std::int64_t> shape, std::size_t offset) {
  const Region& host = regions_.at(static_cast<std::size_t>(other.index));
  RLCPP_CHECK(aligned(offset) == offset && on_host(use) == on_host(host.use));
  Region region{use, std::move(name), type, {shape.begin(), shape.end()}, host.offset + offset, true};
  region.listed = use != host.use;
  RLCPP_CHECK(offset + bytes_of_region(region.name, type, region.shape) <=
              bytes_of_region(host.name, host.type, host.shape));
  regions_.push_back(std::move(region));
  return {static_cast<std::int32_t>(regions_.size()) - 1};
}

std::size_t MemoryPlan::bytes_of(MemoryUse use) const {
  std::size_t sum = 0;
  for (const Region& region : regions_) {
    if (region.use != use || region.shared) continue;
    sum += aligned(bytes_of_region(region.name, region.type, region.shape));
  }
  return sum;
}

std::string MemoryPlan::table(std::size_t limit_bytes) const {
  std::string text, host;
  for (const MemoryUse use : kUses) {
    std::string& rows = on_host(use) ? host : text;
    if (const std::size_t bytes = bytes_of(use); bytes > 0) rows += line_of(name_of(use), bytes);
    for (const Region& region : regions_) {
      if (region.use != use || !region.shared || !region.listed) continue;
      rows += line_of(name_of(use), bytes_of_region(region.name, region.type, region.shape));
      rows.insert(rows.size() - 1, "  in memory of another row");
    }
  }
  text += line_of("planned", total_);
  if (limit_bytes > 0) {
    text += line_of("available", limit_bytes);
    if (limit_bytes >= total_) text += line_of("free", limit_bytes - total_);
  }
  if (!host.empty()) text += host + line_of("host", host_total_);
  return text;
}

void MemoryPlan::require_fits(std::size_t limit_bytes, const std::vector<std::string>& options) const {
  if (limit_bytes == 0 || total_ <= limit_bytes) return;
  const std::string numbers = amount_of(total_, 0) + " are planned, " + amount_of(limit_bytes, 0) +
                              " are available, " + amount_of(total_ - limit_bytes, 0) + " are missing";
  std::string help;
  for (const std::string& option : options) help += (help.empty() ? "" : "\n        ") + option;
  throw environment_error("the memory plan does not fit", numbers, help);
}

Arena::Arena(MemoryPlan plan, Device device, bool pin_host) : plan_(std::move(plan)), device_(device) {
  const bool gpu = device.kind == DeviceKind::kCuda;
  try {
    if (plan_.host_bytes() > 0) {
      host_ = allocate_host(plan_.host_bytes());
      if (gpu && pin_host) {
        cuda::pin(host_, plan_.host_bytes(), device);
        pinned_ = true;
      }
    }
    if (plan_.total_bytes() == 0) return;
    if (gpu) {
      base_ = cuda::allocate(plan_.total_bytes(), device);
      cuda::fill(base_, device, 0, plan_.total_bytes());
    } else {
      base_ = allocate_host(plan_.total_bytes());
    }
  } catch (...) {
    release();
    throw;
  }
}

void Arena::release() noexcept {
  if (host_ != nullptr) {
    if (pinned_) cuda::unpin(host_, device_);
    munmap(host_, plan_.host_bytes());
  }
  if (base_ == nullptr) return;
  if (device_.kind == DeviceKind::kCuda) {
    cuda::release(base_, device_);
  } else {
    munmap(base_, plan_.total_bytes());
  }
}

Arena::~Arena() {
  release();
}

Arena::Arena(Arena&& other) noexcept
    : plan_(std::move(other.plan_)),
      device_(other.device_),
      base_(std::exchange(other.base_, nullptr)),
      host_(std::exchange(other.host_, nullptr)),
      pinned_(other.pinned_) {}

Tensor Arena::operator[](RegionId id) const {
  const auto& region = plan_.regions().at(static_cast<std::size_t>(id.index));
  const bool host = on_host(region.use);
  return {static_cast<std::byte*>(host ? host_ : base_) + region.offset, region.type,
          std::span<const std::int64_t>(region.shape), host ? Device{} : device_};
}

void Arena::poison(RegionId id) const {
  fill_bytes((*this)[id], 0xFF);
}

void Arena::poison_all() const {
  const auto all = [](void* base, std::size_t bytes, Device device) {
    if (base != nullptr) {
      fill_bytes(Tensor(base, DType::kU8, {static_cast<std::int64_t>(bytes)}, device), 0xFF);
    }
  };
  all(base_, plan_.total_bytes(), device_);
  all(host_, plan_.host_bytes(), Device{});
}

}  // namespace rlcpp
