// Random adapters of a tiny model, as a trainer has them, and their directories.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/adapters.h"
#include "ops/context.h"
#include "tensor/arena.h"

namespace rlcpp::rollout {

// Rank 1 to most_rank, at least one target. `whole`: a rank and targets of which every product can be made on
// a GPU.
model::AdapterConfig random_adapter(Rng& rng, std::int64_t most_rank, bool whole = false);

// `config` has the adapter's. The same seed gives the same f32 values on every device.
struct TinyAdapter {
  TinyAdapter(const ops::Context& ctx, const model::ModelConfig& config, std::uint64_t seed);
  // Committed with checksums, under lora_adapters/ in `above` as an export of the whole model has it, or in
  // `dir` itself. Returns the adapter's directory.
  std::string write(const std::string& dir) const;
  std::string write_below(const std::string& above) const;

  model::ModelConfig config;
  std::unique_ptr<Arena> arena;
  std::vector<model::LayerAdapters> masters, values;  // values: for WeightSet::adapters

 private:
  void commit(const std::string& dir, const std::string& prefix) const;
};

}  // namespace rlcpp::rollout
