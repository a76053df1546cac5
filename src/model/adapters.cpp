#include "model/adapters.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/rng.h"
#include "ops/cast.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

struct TargetPlace {
  std::size_t target;
  std::int64_t row, count;
};

AdapterShape shape_of(const ModelConfig& config, const char* name, AdapterPlace place, std::int64_t in,
                      std::int64_t out, std::initializer_list<TargetPlace> targets) {
  AdapterShape shape;
  shape.name = name;
  shape.place = place;
  shape.in = in;
  shape.out = out;
  for (const TargetPlace& t : targets) {
    if (!config.adapters.targets[t.target]) continue;
    shape.target[shape.blocks.targets] = t.target;
    shape.blocks.block[shape.blocks.targets++] = {t.row, t.count};
  }
  return shape;
}

const char* module_of(std::size_t target) {
  return target < 4 ? "self_attn" : "mlp";
}

std::int64_t stacked(const AdapterShape& shape, std::int64_t rank) {
  return static_cast<std::int64_t>(shape.blocks.targets) * rank;
}

// Of the PEFT name of a tensor: the stream of its initial values.
std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(hash);
}

}  // namespace

std::vector<AdapterShape> adapter_shapes(const ModelConfig& c) {
  std::vector<AdapterShape> shapes;
  if (!c.adapters.any()) return shapes;
  const std::int64_t h = c.hidden_size, q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  const std::int64_t inner = c.intermediate_size;
  shapes = {shape_of(c, "qkv", &LayerAdapters::qkv, h, q + 2 * kv, {{0, 0, q}, {1, q, kv}, {2, q + kv, kv}}),
            shape_of(c, "out", &LayerAdapters::out, q, h, {{3, 0, h}}),
            shape_of(c, "gate_up", &LayerAdapters::gate_up, h, 2 * inner, {{4, 0, inner}, {5, inner, inner}}),
            shape_of(c, "down", &LayerAdapters::down, inner, h, {{6, 0, h}})};
  std::erase_if(shapes, [](const AdapterShape& shape) { return shape.blocks.targets == 0; });
  return shapes;
}

std::int64_t adapter_width(const ModelConfig& config) {
  std::int64_t width = 0;
  for (const AdapterShape& shape : adapter_shapes(config)) {
    width = std::max(width, stacked(shape, config.adapters.rank));
  }
  return width;
}

std::int64_t adapter_parameters(const ModelConfig& config) {
  std::int64_t layer = 0;
  for (const AdapterShape& shape : adapter_shapes(config)) {
    layer += stacked(shape, config.adapters.rank) * shape.in + shape.blocks.rows() * config.adapters.rank;
  }
  return config.num_layers * layer;
}

std::vector<ParameterInfo> adapter_list(const ModelConfig& config) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  const std::int64_t rank = config.adapters.rank;
  std::vector<ParameterInfo> list;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const AdapterShape& shape : shapes) {
      ParameterInfo a{fmt::format("layers.{}.{}.lora_A", layer, shape.name),
                      {stacked(shape, rank), shape.in},
                      true,
                      {},
                      false};
      ParameterInfo b{fmt::format("layers.{}.{}.lora_B", layer, shape.name),
                      {shape.blocks.rows(), rank},
                      true,
                      {},
                      false};
      std::int64_t row = 0;
      for (std::size_t i = 0; i < shape.blocks.targets; ++i) {
        const std::string module = fmt::format("base_model.model.model.layers.{}.{}.{}", layer,
                                               module_of(shape.target[i]), kAdapterTargets[shape.target[i]]);
        const std::int64_t count = shape.blocks.block[i].count;
        a.slices.push_back(
            {module + ".lora_A.weight", {rank, shape.in}, static_cast<std::int64_t>(i) * rank});
        b.slices.push_back({module + ".lora_B.weight", {count, rank}, row});
        row += count;
      }
      list.push_back(std::move(a));
      list.push_back(std::move(b));
    }
  }
  return list;
}

AdapterRegions plan_adapters(const ModelConfig& config, const ops::Context& ctx, MemoryPlan& plan) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  const std::int64_t rank = config.adapters.rank;
  const bool separate = ctx.compute_type() != DType::kF32;
  AdapterRegions r;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const AdapterShape& shape : shapes) {
      const std::int64_t width = stacked(shape, rank);
      const auto add = [&](MemoryUse use, const char* what, DType type, std::int64_t rows,
                           std::int64_t columns) {
        return plan.add(use, fmt::format("layers.{}.{}.{}", layer, shape.name, what), type, {rows, columns});
      };
      r.a.push_back(add(MemoryUse::kWeights, "lora_A", ctx.compute_type(), width, shape.in));
      r.b.push_back(add(MemoryUse::kWeights, "lora_B expanded", ctx.compute_type(), shape.out, width));
      if (separate) {
        r.master_a.push_back(add(MemoryUse::kOptimizer, "lora_A master", DType::kF32, width, shape.in));
      }
      r.master_b.push_back(
          add(MemoryUse::kOptimizer, "lora_B master", DType::kF32, shape.blocks.rows(), rank));
    }
  }
  return r;
}

namespace {

// rows [out, in] += scale * b [out, r] a [r, in].
void add_product(const Tensor& a, const Tensor& b, float scale, std::span<float> rows) {
  HostFloats host_a(a), host_b(b);
  const auto rank = static_cast<std::size_t>(a.dim(0)), in = static_cast<std::size_t>(a.dim(1));
  RLCPP_CHECK(rows.size() == static_cast<std::size_t>(b.dim(0)) * in);
  std::vector<float> delta(in);
  for (std::size_t row = 0; row * in < rows.size(); ++row) {
    std::fill(delta.begin(), delta.end(), 0.0F);
    for (std::size_t k = 0; k < rank; ++k) {
      const float factor = host_b.values()[row * rank + k];
      const float* line = host_a.values().data() + k * in;
      for (std::size_t c = 0; c < in; ++c) delta[c] += factor * line[c];
    }
    float* to = rows.data() + row * in;
    for (std::size_t c = 0; c < in; ++c) to[c] += scale * delta[c];
  }
}

std::vector<LayerAdapters> sets_of(const ModelConfig& config, const Arena& arena,
                                   const std::vector<RegionId>& a, const std::vector<RegionId>& b) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  std::vector<LayerAdapters> layers(static_cast<std::size_t>(config.num_layers));
  std::size_t next = 0;
  for (LayerAdapters& layer : layers) {
    for (const AdapterShape& shape : shapes) {
      layer.*shape.place = {arena[a.at(next)], arena[b.at(next)]};
      ++next;
    }
  }
  RLCPP_CHECK(next == a.size() && next == b.size());
  return layers;
}

}  // namespace

std::vector<LayerAdapters> make_adapters(const ModelConfig& config, const Arena& arena,
                                         const AdapterRegions& regions) {
  return sets_of(config, arena, regions.a, regions.b);
}

std::vector<LayerAdapters> make_adapter_masters(const ModelConfig& config, const Arena& arena,
                                                const AdapterRegions& regions) {
  return sets_of(config, arena, regions.master_a.empty() ? regions.a : regions.master_a, regions.master_b);
}

std::vector<Tensor> flat_adapters(const ModelConfig& config, const std::vector<LayerAdapters>& adapters) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  std::vector<Tensor> flat;
  for (const LayerAdapters& layer : adapters) {
    for (const AdapterShape& shape : shapes) {
      flat.push_back((layer.*shape.place).a);
      flat.push_back((layer.*shape.place).b);
    }
  }
  return flat;
}

void init_adapters(const ModelConfig& config, const std::vector<LayerAdapters>& masters, std::uint64_t seed) {
  const std::vector<ParameterInfo> list = adapter_list(config);
  const std::vector<Tensor> flat = flat_adapters(config, masters);
  RLCPP_CHECK(list.size() == flat.size());
  for (std::size_t p = 0; p < list.size(); p += 2) {  // A, then B
    HostFloats a(flat[p], false), b(flat[p + 1], false);
    std::fill(b.values().begin(), b.values().end(), 0.0F);
    for (const HfSlice& slice : list[p].slices) {
      const auto in = static_cast<std::size_t>(slice.shape[1]);
      const std::span<float> rows = a.values().subspan(static_cast<std::size_t>(slice.row) * in,
                                                       static_cast<std::size_t>(slice.shape[0]) * in);
      const float bound = 1.0F / std::sqrt(static_cast<float>(in));
      Rng rng(seed, stream_of(slice.name));
      for (float& value : rows) value = bound * (2.0F * rng.uniform() - 1.0F);
    }
    a.store();
    b.store();
  }
}

void publish_adapters(const ops::Context& ctx, const ModelConfig& config,
                      const std::vector<LayerAdapters>& adapters, const std::vector<LayerAdapters>& masters) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  RLCPP_CHECK(adapters.size() == masters.size());
  for (std::size_t layer = 0; layer < adapters.size(); ++layer) {
    for (const AdapterShape& shape : shapes) {
      const AdapterPair& read = adapters[layer].*shape.place;
      const AdapterPair& master = masters[layer].*shape.place;
      if (read.a.raw() != master.a.raw()) ops::cast(ctx, read.a, master.a);
      ops::adapter_expand(ctx, read.b, master.b, shape.blocks, config.adapters.scale());
    }
  }
}

void merge_adapter(const ModelConfig& config, const std::vector<LayerAdapters>& masters,
                   std::string_view name, std::span<float> rows) {
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  for (std::size_t layer = 0; layer < masters.size(); ++layer) {
    if (!name.starts_with(fmt::format("model.layers.{}.", layer))) continue;
    for (const AdapterShape& shape : shapes) {
      std::int64_t row = 0;  // of the stacked B
      for (std::size_t i = 0; i < shape.blocks.targets; ++i) {
        const std::int64_t count = shape.blocks.block[i].count;
        if (name.ends_with(fmt::format(".{}.weight", kAdapterTargets[shape.target[i]]))) {
          const AdapterPair& pair = masters[layer].*shape.place;
          const std::int64_t rank = config.adapters.rank;
          add_product(pair.a.rows(static_cast<std::int64_t>(i) * rank, rank), pair.b.rows(row, count),
                      config.adapters.scale(), rows);
          return;
        }
        row += count;
      }
    }
  }
}

}  // namespace rlcpp::model
