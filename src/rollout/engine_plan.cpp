#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "ops/paged_work.h"
#include "rollout/engine_regions.h"

namespace rlcpp::rollout {
namespace {

// Numbers of the cache are 32-bit: slots are page * page_size + offset in an i32 tensor.
std::int32_t narrow(const char* field, std::int64_t value) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() / 2;
  if (value < 0 || value > kMost) {
    throw bad_input(fmt::format("{} of the rollout engine is {}", field, value),
                    fmt::format("it must lie in 0 to {}", kMost), fmt::format("change {}", field));
  }
  return static_cast<std::int32_t>(value);
}

SchedulerConfig resolve(const model::ModelConfig& model, const EngineConfig& config) {
  SchedulerConfig out;
  out.max_sequences = narrow("max_sequences", config.max_sequences);
  out.max_batch_tokens = narrow("max_batch_tokens", config.max_batch_tokens);
  out.page_size = narrow("page_size", config.page_size);
  out.max_model_len = narrow("max_model_len", config.max_model_len);
  if (config.max_model_len > model.max_position) {
    throw bad_input(fmt::format("max_model_len of the rollout engine is {}", config.max_model_len),
                    fmt::format("the model has positions for {} tokens", model.max_position),
                    fmt::format("set max_model_len to at most {}", model.max_position));
  }
  const std::int64_t page_size = std::max<std::int64_t>(config.page_size, 1);
  const std::int64_t of_one = (config.max_model_len + page_size - 1) / page_size;
  const std::int64_t pages = config.num_pages == 0 ? config.max_sequences * of_one : config.num_pages;
  out.num_pages = narrow("num_pages", pages);
  narrow("num_pages * page_size", (pages + 1) * page_size);
  check_config(out);
  return out;
}

}  // namespace

std::shared_ptr<Engine::Regions> Engine::plan(const ops::Context& ctx, const model::ModelConfig& model,
                                              const EngineConfig& config, MemoryPlan& plan) {
  if (model.adapters.dropout > 0) {
    throw bad_input(fmt::format("adapters with dropout {} cannot be sampled from", model.adapters.dropout),
                    "the engine drops nothing, and its log-probabilities would not be the trainer's",
                    "set model.lora.dropout to 0");
  }
  if (ctx.on_gpu() && ctx.mode == ops::NumericMode::kExact && config.page_size % ops::kPagedBlock != 0) {
    throw bad_input(
        fmt::format("page_size of the rollout engine is {}", config.page_size),
        fmt::format("in the numeric mode exact a GPU sums over blocks of {} tokens of a page",
                    ops::kPagedBlock),
        fmt::format("set page_size to a multiple of {}, or numeric_mode to fast", ops::kPagedBlock));
  }
  auto regions = std::make_shared<Regions>();
  const SchedulerConfig numbers = resolve(model, config);
  regions->scheduler = numbers;
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    const auto add = [&](const char* what) {
      return plan.add(MemoryUse::kKvCache, fmt::format("engine.{}.{}", what, layer), ctx.compute_type(),
                      {numbers.num_pages + 1, numbers.page_size, model.num_kv_heads, model.head_dim});
    };
    regions->k.push_back(add("k"));
    regions->v.push_back(add("v"));
  }
  regions->step = StepBuffers::plan(ctx, model, numbers, plan);
  if (config.max_loras > 0 && narrow("max_lora_rank", config.max_lora_rank) == 0)
    throw bad_input("max_lora_rank of the rollout engine is 0", "no adapter has that", "raise max_lora_rank");
  regions->adapters =
      AdapterSlots::plan(ctx, model, narrow("max_loras", config.max_loras), config.max_lora_rank, plan);
  regions->scratch =
      model::plan_paged_scratch(model, plan, numbers.max_batch_tokens, ctx.compute_type(),
                                AdapterSlots::columns(model, config.max_loras, config.max_lora_rank));
  if (ctx.on_gpu()) {
    regions->device_sampler = plan_device_sampler(ctx, model, numbers.max_sequences, plan);
  } else {
    regions->sampler = plan_sampler(model, numbers.max_sequences, plan);
  }
  return regions;
}

}  // namespace rlcpp::rollout
