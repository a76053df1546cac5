// Adapters that requests choose by name. Memory is planned for so many of them of at most so high a rank; a
// directory is read and checked as a whole beside what serves, and then takes its place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/adapters.h"
#include "ops/context.h"
#include "tensor/arena.h"

namespace rlcpp::rollout {

struct AdapterSlotRegions {
  std::int64_t slots = 0, rank = 0;  // of the highest
  std::vector<RegionId> a, b;        // flat, by slot, layer and product
};

// An adapter in the host's memory, as the decoder reads it but for its type.
struct StagedAdapter {
  model::ModelConfig config;  // the model with this adapter's rank and targets
  std::unique_ptr<Arena> arena;
  std::vector<model::LayerAdapters> values;  // f32; B expanded, with its scale
};

// Reads a directory as peft's save_pretrained or rlcpp writes it. Where it, or the directory above, is one
// that rlcpp has committed, its checksums are verified. Throws bad_input, with what is wrong, for anything
// but plain LoRA of `model`'s shapes and a rank of at most most_rank.
StagedAdapter stage_adapter(const model::ModelConfig& model, const std::string& dir, std::int64_t most_rank,
                            ThreadPool* pool);

class AdapterSlots {
 public:
  static AdapterSlotRegions plan(const ops::Context& ctx, const model::ModelConfig& model, std::int64_t slots,
                                 std::int64_t rank, MemoryPlan& plan);
  // Columns of A x at most.
  static std::int64_t columns(const model::ModelConfig& model, std::int64_t slots, std::int64_t rank);
  AdapterSlots(const model::ModelConfig& model, const Arena& arena, const AdapterSlotRegions& regions);

  static constexpr std::int32_t kNone = -1;
  std::int32_t find(std::string_view name) const;  // kNone: not here
  // The slot of an adapter that somebody names; kNone for "". Throws bad_input if it is not here.
  std::int32_t named(const std::string& name, const std::string& who) const;
  // The slot that an adapter of this name takes: its own, or a free one. Throws bad_input if there is none.
  std::int32_t place_for(const std::string& name) const;
  std::int64_t count() const { return static_cast<std::int64_t>(slots_.size()); }
  std::int64_t rank() const { return rank_; }
  std::vector<std::string> names() const;

  // Copies the values into the slot, which is `name`'s from now on. Nothing reads the slot meanwhile.
  void store(std::int32_t slot, const std::string& name, const StagedAdapter& staged);
  void clear(std::int32_t slot) { slots_[static_cast<std::size_t>(slot)].name.clear(); }
  // As AdapterRows names them; at one address as long as the slots are there.
  const std::vector<model::LayerAdapters>& views(std::int32_t slot) const {
    return slots_[static_cast<std::size_t>(slot)].views;
  }

 private:
  std::int32_t first_free() const;

  struct Slot {
    std::string name;  // empty: free
    std::vector<Tensor> a, b;
    std::vector<model::LayerAdapters> views;
  };
  std::int64_t rank_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace rlcpp::rollout
