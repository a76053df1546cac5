#include "model/offload.h"

#include <utility>

#include "base/error.h"

namespace rlcpp::model {

Offloaded::Offloaded(const ops::Context& ctx, std::vector<Tensor> slots, std::vector<Tensor> host)
    : slots_(std::move(slots)), host_(std::move(host)), queue_(ctx, 2 * host_.size()) {
  RLCPP_CHECK(slots_.size() >= 2 || host_.empty());
}

void Offloaded::before_written(std::size_t layer) const {
  if (layer >= slots_.size()) queue_.hold_operations(layer - slots_.size());
}

void Offloaded::written(std::size_t layer, std::int64_t tokens) {
  if (!leaves(layer)) return;
  queue_.follow_operations();
  queue_.copy(host_[layer].rows(0, tokens), slots_[layer % slots_.size()].rows(0, tokens));
  queue_.mark(layer);
}

void Offloaded::before_read(std::size_t layer) const {
  if (leaves(layer)) queue_.hold_operations(host_.size() + layer);
}

void Offloaded::read(std::size_t layer, std::size_t lowest, std::int64_t tokens) {
  if (layer < lowest + slots_.size()) return;
  const std::size_t next = layer - slots_.size();
  queue_.follow_operations();
  queue_.copy(slots_[layer % slots_.size()].rows(0, tokens), host_[next].rows(0, tokens));
  queue_.mark(host_.size() + next);
}

}  // namespace rlcpp::model
