#include "tensor/staging.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace rlcpp {

Stager::Stager(Device device) {
  if (device.kind == DeviceKind::kCpu) return;
  try {
    pinned_ = static_cast<std::byte*>(cuda::staging::allocate_pinned(kPinnedBytes, device));
    for (void*& stream : streams_) stream = cuda::staging::make_stream(device);
  } catch (...) {
    release();
    throw;
  }
}

Stager::~Stager() {
  release();
}

void Stager::release() noexcept {
  for (void* stream : streams_) {
    if (stream != nullptr) cuda::staging::release_stream(stream);
  }
  if (pinned_ != nullptr) cuda::staging::release_pinned(pinned_);
}

void Stager::to_host(std::span<std::byte> to, const void* from, Device device) {
  if (device.kind == DeviceKind::kCpu) {
    if (!to.empty()) std::memcpy(to.data(), from, to.size());
    return;
  }
  RLCPP_CHECK(pinned_ != nullptr);
  const auto* source = static_cast<const std::byte*>(from);
  const std::size_t pieces = (to.size() + kSlot - 1) / kSlot;
  const auto piece = [&](std::size_t i) {
    return to.subspan(i * kSlot, std::min(kSlot, to.size() - i * kSlot));
  };
  const auto begin = [&](std::size_t i) {
    cuda::staging::copy_on(streams_[i % 2], pinned_ + i % 2 * kSlot, source + i * kSlot, piece(i).size());
  };
  for (std::size_t i = 0; i < std::min<std::size_t>(pieces, 2); ++i) begin(i);
  for (std::size_t i = 0; i < pieces; ++i) {
    cuda::staging::finish(streams_[i % 2]);
    std::memcpy(piece(i).data(), pinned_ + i % 2 * kSlot, piece(i).size());
    if (i + 2 < pieces) begin(i + 2);
  }
}

void Stager::to_device(void* to, Device device, std::span<const std::byte> from) {
  if (device.kind == DeviceKind::kCpu) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
    return;
  }
  RLCPP_CHECK(pinned_ != nullptr);
  auto* target = static_cast<std::byte*>(to);
  const std::size_t pieces = (from.size() + kSlot - 1) / kSlot;
  for (std::size_t i = 0; i < pieces; ++i) {
    const auto piece = from.subspan(i * kSlot, std::min(kSlot, from.size() - i * kSlot));
    cuda::staging::finish(streams_[i % 2]);
    std::memcpy(pinned_ + i % 2 * kSlot, piece.data(), piece.size());
    cuda::staging::copy_on(streams_[i % 2], target + i * kSlot, pinned_ + i % 2 * kSlot, piece.size());
  }
  for (void* stream : streams_) cuda::staging::finish(stream);
}

}  // namespace rlcpp
