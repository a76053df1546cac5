#include "rollout/tiny_adapter.h"

#include "base/durable.h"
#include "hub/image_writer.h"
#include "model/adapter_files.h"
#include "tensor/copy.h"

namespace rlcpp::rollout {

model::AdapterConfig random_adapter(Rng& rng, std::int64_t most_rank, bool whole) {
  model::AdapterConfig out;
  out.rank = whole ? 8 * static_cast<std::int64_t>(1 + rng.below(static_cast<std::uint64_t>(most_rank / 8)))
                   : static_cast<std::int64_t>(1 + rng.below(static_cast<std::uint64_t>(most_rank)));
  out.alpha = static_cast<double>(1 + rng.below(20));
  for (bool& target : out.targets) target = rng.below(2) == 0;
  out.targets[rng.below(out.targets.size())] = true;
  return out;
}

TinyAdapter::TinyAdapter(const ops::Context& ctx, const model::ModelConfig& with, std::uint64_t seed)
    : config(with) {
  MemoryPlan plan;
  const model::AdapterRegions regions = model::plan_adapters(config, ctx, plan);
  arena = std::make_unique<Arena>(std::move(plan), ctx.device);
  arena->poison_all();
  masters = model::make_adapter_masters(config, *arena, regions);
  values = model::make_adapters(config, *arena, regions);
  Rng rng(seed, 5);
  for (const Tensor& tensor : model::flat_adapters(config, masters)) {
    std::vector<float> numbers(static_cast<std::size_t>(tensor.size()));
    for (float& value : numbers) value = 0.3F * rng.normal();
    from_floats(tensor, numbers);
  }
  model::publish_adapters(ctx, config, values, masters);
}

void TinyAdapter::commit(const std::string& dir, const std::string& prefix) const {
  std::vector<hub::DirectoryImage> images(1);
  images[0].path = dir;
  model::add_adapter_files(images[0], prefix, config, masters);
  hub::ImageWriter writer(durable::system_files(), Device{}, hub::ImageWriter::kBlock, 1);
  hub::WriteProgress progress;
  writer.write(images, "test", progress);
}

std::string TinyAdapter::write(const std::string& dir) const {
  commit(dir, "");
  return dir;
}

std::string TinyAdapter::write_below(const std::string& above) const {
  commit(above, "lora_adapters/");
  return above + "/lora_adapters";
}

}  // namespace rlcpp::rollout
