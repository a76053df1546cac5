// Which activations live how long: the memory of the recompute policies.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/decoder.h"
#include "model/fp8.h"
#include "model/offload.h"

namespace rlcpp::model {
namespace {

using Layer = Activations::Layer;

// One field of Layer: how wide its rows are, and which policies keep it between forward and backward.
struct Field {
  const char* name;
  Tensor Layer::*place;
  std::int64_t width;  // 0: the model has none
  bool kept_selective;
  bool statistic = false;  // f32 whatever the type of activations
};

// In the order of Layer. Only `input` is kept by every policy.
constexpr std::size_t kFields = 17, kInput = 0, kNorm1 = 1, kAttn = 6, kLse = 7, kNorm2 = 9;
std::array<Field, kFields> fields_of(const ModelConfig& c) {
  const std::int64_t h = c.hidden_size, width = c.qkv().width();
  // Without QK-norm rope runs in place, and nothing of it needs computing again.
  const std::int64_t raw = c.qk_norm ? width : 0;
  const auto lora = [&](AdapterPlace place) {
    std::int64_t columns = 0;
    for (const AdapterShape& shape : adapter_shapes(c)) {
      if (shape.place == place) columns = static_cast<std::int64_t>(shape.blocks.targets) * c.adapters.rank;
    }
    return columns;
  };
  return {{{"input", &Layer::input, h, true},
           {"norm1", &Layer::norm1, h, false},
           {"rstd1", &Layer::rstd1, 1, true, true},
           {"qkv_raw", &Layer::qkv_raw, raw, true},
           {"qkv", &Layer::qkv, width, !c.qk_norm},
           {"qk_rstd", &Layer::qk_rstd, c.qk_norm ? c.num_heads + c.num_kv_heads : 0, true, true},
           {"attn", &Layer::attn, c.num_heads * c.head_dim, true},
           {"lse", &Layer::lse, c.num_heads, true, true},
           {"mid", &Layer::mid, h, true},
           {"norm2", &Layer::norm2, h, false},
           {"rstd2", &Layer::rstd2, 1, true, true},
           {"gate_up", &Layer::gate_up, 2 * c.intermediate_size, true},
           {"swiglu", &Layer::swiglu, c.intermediate_size, false},
           {"lora_qkv", &Layer::lora_qkv, lora(&LayerAdapters::qkv), true},
           {"lora_out", &Layer::lora_out, lora(&LayerAdapters::out), true},
           {"lora_gate_up", &Layer::lora_gate_up, lora(&LayerAdapters::gate_up), true},
           {"lora_down", &Layer::lora_down, lora(&LayerAdapters::down), true}}};
}

bool kept(const Field& field, std::size_t index, Recompute recompute) {
  switch (recompute) {
    case Recompute::kNone:
      return true;
    case Recompute::kSelective:
      return field.kept_selective;
    case Recompute::kAttention:
      return index == kInput || index == kAttn || index == kLse;
    case Recompute::kFull:
      return index == kInput;
    case Recompute::kOffload:
      return false;
    case Recompute::kOffloadAttention:
      return index == kLse;
  }
  return true;
}

Tensor view_of(const Arena& arena, RegionId id) {
  return id.index < 0 ? Tensor() : arena[id];
}

// One statistic a row is a vector.
void flatten(Tensor& statistic) {
  statistic = statistic.view({statistic.dim(0)});
}

}  // namespace

Layer Layer::rows(std::int64_t count) const {
  const auto cut = [count](const Tensor& tensor) { return tensor.empty() ? tensor : tensor.rows(0, count); };
  return {cut(input),  cut(norm1),    cut(rstd1),    cut(qkv_raw),      cut(qkv),      cut(qk_rstd),
          cut(attn),   cut(lse),      cut(mid),      cut(norm2),        cut(rstd2),    cut(gate_up),
          cut(swiglu), cut(lora_qkv), cut(lora_out), cut(lora_gate_up), cut(lora_down)};
}

Activations::Regions Activations::plan(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens,
                                       Recompute recompute, DType type, OffloadOptions offload, bool fp8) {
  Regions regions;
  regions.max_tokens = max_tokens;
  regions.recompute = recompute;
  const auto add = [&](const std::string& name, std::int64_t width, bool statistic = false) {
    return width == 0
               ? RegionId{}
               : plan.add(MemoryUse::kActivations, name, statistic ? DType::kF32 : type, {max_tokens, width});
  };
  const auto fields = fields_of(config);
  std::array<RegionId, kFields> common;
  // Fields that leave the device, of which it has a few at a time.
  struct Leaving {
    std::size_t field;
    std::vector<RegionId>* host;
    std::vector<RegionId> slots;
  };
  std::vector<Leaving> leaving;
  if (offloads(recompute)) leaving.push_back({kInput, &regions.host_inputs, {}});
  if (recompute == Recompute::kOffloadAttention) leaving.push_back({kAttn, &regions.host_attention, {}});
  for (Leaving& one : leaving) {
    RLCPP_CHECK(offload.inflight >= 2);
    const Field& field = fields[one.field];
    const std::int64_t count = std::min(offload.inflight, config.num_layers);
    for (std::int64_t slot = 0; slot < count; ++slot)
      one.slots.push_back(add(fmt::format("{} slot {}", field.name, slot), field.width));
    for (std::int64_t layer = 0; layer < config.num_layers - count; ++layer) {
      one.host->push_back(plan.add(offload.apart ? MemoryUse::kHostActivations : MemoryUse::kActivations,
                                   fmt::format("layer {} {} on the host", layer, field.name), type,
                                   {max_tokens, field.width}));
    }
  }
  const auto leaves = [&](std::size_t f) {
    return std::ranges::any_of(leaving, [f](const Leaving& one) { return one.field == f; });
  };
  for (std::size_t f = 0; f < fields.size(); ++f) {
    if (!kept(fields[f], f, recompute) && !leaves(f))
      common[f] = add(fmt::format("all layers {}", fields[f].name), fields[f].width, fields[f].statistic);
  }
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    std::vector<RegionId>& ids = regions.layers.emplace_back();
    for (std::size_t f = 0; f < fields.size(); ++f) {
      ids.push_back(kept(fields[f], f, recompute) ? add(fmt::format("layer {} {}", layer, fields[f].name),
                                                        fields[f].width, fields[f].statistic)
                                                  : common[f]);
    }
    for (const Leaving& one : leaving)
      ids[one.field] = one.slots[static_cast<std::size_t>(layer) % one.slots.size()];
  }
  const std::int64_t h = config.hidden_size;
  // The head stands between the passes: what it reads and writes lies where no block has anything of its own
  // then. Its gradient is consumed before the last block is computed again.
  const auto between = [&](const std::string& name, std::size_t field) {
    return common[field].index < 0
               ? add(name, h)
               : plan.alias(common[field], MemoryUse::kActivations, name, type, {max_tokens, h});
  };
  regions.dhidden = between("gradient of hidden", kNorm2);
  // In the place of the MLP's values, whose backward comes first, where these are wide enough.
  const std::int64_t attn = config.num_heads * config.head_dim, qkv = config.qkv().width();
  regions.shared = {
      add("last residual", h),
      add("final rstd", 1, true),
      between("hidden", kNorm1),
      add("gradient of residual", h),
      add("gradient of attention", attn > config.intermediate_size ? attn : 0),
      add("gradient of qkv", qkv > 2 * config.intermediate_size ? qkv : 0),
      add("attention delta", config.num_heads, true),
      add("gradient of adapters", adapter_width(config)),
      add("dropped input", config.adapters.dropout > 0
                               ? std::max({h, config.num_heads * config.head_dim, config.intermediate_size})
                               : 0)};
  if (fp8) regions.fp8 = plan_fp8(config, plan, max_tokens);
  return regions;
}

Activations::Activations(const ops::Context& ctx, const ModelConfig& config, const Arena& arena,
                         const Regions& regions)
    : max_tokens(regions.max_tokens), recompute(regions.recompute) {
  const auto fields = fields_of(config);
  for (const std::vector<RegionId>& ids : regions.layers) {
    Layer& layer = layers.emplace_back();
    for (std::size_t f = 0; f < fields.size(); ++f) layer.*fields[f].place = view_of(arena, ids[f]);
    if (layer.qkv_raw.empty()) layer.qkv_raw = layer.qkv;
    flatten(layer.rstd1);
    flatten(layer.rstd2);
  }
  const std::array<Tensor*, 9> places = {&last,           &final_rstd,   &hidden,
                                         &scratch_hidden, &scratch_attn, &scratch_qkv,
                                         &delta,          &scratch_lora, &dropped};
  for (std::size_t i = 0; i < places.size(); ++i) *places[i] = view_of(arena, regions.shared[i]);
  flatten(final_rstd);
  fp8 = make_fp8(arena, regions.fp8);
  const auto way_of = [&](Tensor Layer::*place, const std::vector<RegionId>& leaving) {
    std::vector<Tensor> slots, host;
    for (const RegionId id : leaving) host.push_back(arena[id]);
    for (std::size_t slot = 0; slot < layers.size() - host.size(); ++slot)
      slots.push_back(layers[slot].*place);
    return std::make_shared<Offloaded>(ctx, std::move(slots), std::move(host));
  };
  if (offloads(recompute)) inputs = way_of(&Layer::input, regions.host_inputs);
  if (recompute == Recompute::kOffloadAttention) attention = way_of(&Layer::attn, regions.host_attention);
}

}  // namespace rlcpp::model
