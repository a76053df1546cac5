#include "rollout/adapter_slots.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "base/durable.h"
#include "base/error.h"
#include "base/log.h"
#include "model/adapter_files.h"
#include "tensor/copy.h"

namespace rlcpp::rollout {
namespace {

// The model with an adapter of this rank on every layer that can have one.
model::ModelConfig widest(const model::ModelConfig& model, std::int64_t rank) {
  model::ModelConfig wide = model;
  wide.adapters = {};
  wide.adapters.rank = rank;
  wide.adapters.targets.fill(true);
  return wide;
}

Tensor front_of(const Tensor& memory, std::int64_t rows, std::int64_t columns) {
  RLCPP_CHECK(rows * columns <= memory.size());
  return Tensor(memory.raw(), memory.dtype(), {rows, columns}, memory.device());
}

// Every chunk of the files of `dir` that a manifest there, or one above, knows.
void verify_checksums(const std::string& dir) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const auto committed = [&](const fs::path& path) {
    return fs::is_regular_file(path / durable::kManifestName, ignored);
  };
  if (committed(dir)) {
    durable::VerifiedDirectory(dir).verify();
    return;
  }
  const fs::path path = fs::weakly_canonical(dir, ignored);
  if (!committed(path.parent_path())) return;
  const durable::VerifiedDirectory above(path.parent_path().string());
  const std::string prefix = path.filename().string() + "/";
  for (const std::string& name : above.files()) {
    if (name.starts_with(prefix)) above.read_all(name);
  }
}

}  // namespace

StagedAdapter stage_adapter(const model::ModelConfig& model, const std::string& dir, std::int64_t most_rank,
                            ThreadPool* pool) {
  StagedAdapter out;
  out.config = model;
  out.config.adapters = model::read_adapter_config(dir);
  out.config.adapters.dropout = 0;  // of its training
  if (out.config.adapters.rank > most_rank) {
    throw bad_input(fmt::format("the adapter in {} has rank {}", dir, out.config.adapters.rank),
                    fmt::format("the rollout engine has room for a rank of {}", most_rank),
                    "raise max_lora_rank");
  }
  verify_checksums(dir);
  ops::Context host;
  host.pool = pool;
  MemoryPlan plan;
  const model::AdapterRegions regions = model::plan_adapters(out.config, host, plan);
  out.arena = std::make_unique<Arena>(std::move(plan), Device{});
  const auto masters = model::make_adapter_masters(out.config, *out.arena, regions);
  out.values = model::make_adapters(out.config, *out.arena, regions);
  model::load_adapter(out.config, dir, masters);
  model::publish_adapters(host, out.config, out.values, masters);
  return out;
}

AdapterSlotRegions AdapterSlots::plan(const ops::Context& ctx, const model::ModelConfig& model,
                                      std::int64_t slots, std::int64_t rank, MemoryPlan& plan) {
  AdapterSlotRegions regions;
  regions.slots = slots;
  regions.rank = rank;
  if (slots == 0) return regions;
  const auto shapes = model::adapter_shapes(widest(model, rank));
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
      for (const model::AdapterShape& shape : shapes) {
        const std::int64_t width = static_cast<std::int64_t>(shape.blocks.targets) * rank;
        const auto add = [&](const char* what, std::int64_t size) {
          return plan.add(MemoryUse::kWeights,
                          fmt::format("engine.adapters.{}.layers.{}.{}.{}", slot, layer, shape.name, what),
                          ctx.compute_type(), {size});
        };
        regions.a.push_back(add("lora_A", width * shape.in));
        regions.b.push_back(add("lora_B expanded", width * shape.out));
      }
    }
  }
  return regions;
}

std::int64_t AdapterSlots::columns(const model::ModelConfig& model, std::int64_t slots, std::int64_t rank) {
  return slots == 0 ? 0 : model::adapter_width(widest(model, rank));
}

AdapterSlots::AdapterSlots(const model::ModelConfig& model, const Arena& arena,
                           const AdapterSlotRegions& regions)
    : rank_(regions.rank), slots_(static_cast<std::size_t>(regions.slots)) {
  if (slots_.empty()) return;
  const std::size_t each = regions.a.size() / slots_.size();
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    for (std::size_t i = s * each; i < (s + 1) * each; ++i) {
      slots_[s].a.push_back(arena[regions.a[i]]);
      slots_[s].b.push_back(arena[regions.b[i]]);
    }
    slots_[s].views.resize(static_cast<std::size_t>(model.num_layers));
  }
}

std::int32_t AdapterSlots::find(std::string_view name) const {
  const auto place = std::ranges::find(slots_, name, &Slot::name);
  return place == slots_.end() || name.empty() ? kNone : static_cast<std::int32_t>(place - slots_.begin());
}

std::int32_t AdapterSlots::named(const std::string& name, const std::string& who) const {
  const std::int32_t slot = find(name);
  if (slot == kNone && !name.empty()) {
    throw bad_input(fmt::format("{}: there is no adapter \"{}\"", who, printable(name)),
                    slots_.empty() ? "the rollout engine was made with max_loras = 0"
                                   : fmt::format("loaded are: {}", fmt::join(names(), ", ")),
                    "load it first");
  }
  return slot;
}

std::int32_t AdapterSlots::place_for(const std::string& name) const {
  if (name.empty()) throw bad_input("an adapter needs a name", "requests choose it by that", "give one");
  if (const std::int32_t own = find(name); own != kNone) return own;
  const std::int32_t slot = first_free();
  if (slot == kNone) {
    throw bad_input(fmt::format("there is no place for the adapter \"{}\"", printable(name)),
                    fmt::format("the rollout engine has max_loras = {}{}{}", slots_.size(),
                                slots_.empty() ? "" : ": ", fmt::join(names(), ", ")),
                    "unload one, or raise max_loras");
  }
  return slot;
}

std::int32_t AdapterSlots::first_free() const {
  const auto place = std::ranges::find_if(slots_, [](const Slot& slot) { return slot.name.empty(); });
  return place == slots_.end() ? kNone : static_cast<std::int32_t>(place - slots_.begin());
}

std::vector<std::string> AdapterSlots::names() const {
  std::vector<std::string> names;
  for (const Slot& slot : slots_) {
    if (!slot.name.empty()) names.push_back(slot.name);
  }
  return names;
}

void AdapterSlots::store(std::int32_t index, const std::string& name, const StagedAdapter& staged) {
  Slot& slot = slots_.at(static_cast<std::size_t>(index));
  const auto all = model::adapter_shapes(widest(staged.config, rank_));
  std::size_t next = 0;
  for (std::size_t layer = 0; layer < slot.views.size(); ++layer) {
    for (const model::AdapterShape& shape : all) {
      const model::AdapterPair& from = staged.values[layer].*shape.place;
      model::AdapterPair& to = slot.views[layer].*shape.place;
      const std::size_t i = next++;
      to = {};
      if (from.a.empty()) continue;
      to.a = front_of(slot.a[i], from.a.dim(0), from.a.dim(1));
      to.b = front_of(slot.b[i], from.b.dim(0), from.b.dim(1));
      from_floats(to.a, from.a.f32_span());
      from_floats(to.b, from.b.f32_span());
    }
  }
  slot.name = name;
}

}  // namespace rlcpp::rollout
