#include "tensor/staging.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/stream_copy.h"

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
  finish(begin(to, from, /*stream=*/false));
}

Stager::Ticket Stager::begin_to_host(std::span<std::byte> to, const void* from, Device device) {
  if (device.kind == DeviceKind::kCpu) {
    stream_copy(to, static_cast<const std::byte*>(from));
    return begun_;
  }
  return begin(to, from, /*stream=*/true);
}

Stager::Ticket Stager::begin(std::span<std::byte> to, const void* from, bool stream) {
  RLCPP_CHECK(pinned_ != nullptr);
  const auto* source = static_cast<const std::byte*>(from);
  for (std::size_t at = 0; at < to.size(); at += kSlot) {
    if (begun_ - emptied_ == kSlots) empty_oldest();
    const std::size_t slot = begun_ % kSlots;
    pieces_[slot] = {to.subspan(at, std::min(kSlot, to.size() - at)), stream};
    cuda::staging::copy_on(streams_[slot], pinned_ + slot * kSlot, source + at, pieces_[slot].to.size());
    ++begun_;
  }
  return begun_;
}

void Stager::empty_oldest() {
  const std::size_t slot = emptied_ % kSlots;
  const Piece& piece = pieces_[slot];
  cuda::staging::finish(streams_[slot]);
  if (piece.stream) {
    stream_copy(piece.to, pinned_ + slot * kSlot);
  } else {
    std::memcpy(piece.to.data(), pinned_ + slot * kSlot, piece.to.size());
  }
  ++emptied_;
}

void Stager::finish(Ticket ticket) {
  while (emptied_ < ticket) empty_oldest();
}

void Stager::drop() {
  for (; emptied_ < begun_; ++emptied_) cuda::staging::finish(streams_[emptied_ % kSlots]);
}

void Stager::to_device(void* to, Device device, std::span<const std::byte> from) {
  if (device.kind == DeviceKind::kCpu) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
    return;
  }
  RLCPP_CHECK(pinned_ != nullptr);
  finish(begun_);  // the slots are the same
  auto* target = static_cast<std::byte*>(to);
  for (std::size_t at = 0, slot = 0; at < from.size(); at += kSlot, slot = (slot + 1) % kSlots) {
    const auto piece = from.subspan(at, std::min(kSlot, from.size() - at));
    cuda::staging::finish(streams_[slot]);
    std::memcpy(pinned_ + slot * kSlot, piece.data(), piece.size());
    cuda::staging::copy_on(streams_[slot], target + at, pinned_ + slot * kSlot, piece.size());
  }
  for (void* stream : streams_) cuda::staging::finish(stream);
}

}  // namespace rlcpp
