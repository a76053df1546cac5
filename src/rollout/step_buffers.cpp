#include "rollout/step_buffers.h"

#include <algorithm>

#include "base/error.h"
#include "ops/graph.h"
#include "rollout/shaped_draws.h"
#include "tensor/copy.h"

namespace rlcpp::rollout {
namespace {

// Every array begins at a multiple of 16 bytes.
constexpr std::int64_t aligned(std::int64_t words) {
  return (words + 3) / 4 * 4;
}

std::int64_t table_width_of(const SchedulerConfig& config) {
  return (config.max_model_len + config.page_size - 1) / config.page_size;
}

}  // namespace

std::int64_t whole_places(std::int64_t sequences) {
  std::int64_t places = 16;
  while (places < sequences) places *= 4;
  return places;
}

// Offsets in words.
struct StepBuffers::Layout {
  std::int64_t ids = 0, positions = 0, slots = 0, sequence_of = 0, sources = 0, sample_rows = 0,
               temperatures = 0, divisors = 0, uniforms = 0, tables = 0, counts = 0, copies = 0,
               shaped_count = 0, shaped = 0, whole = 0, prefill = 0, decode = 0;
  ops::PagedCounts most;
  std::int64_t words = 0;

  Layout(const StepSize& size, std::int64_t table_width, const ops::PagedCounts& work) : most(work) {
    const auto take = [&](std::int64_t& place, std::int64_t count) {
      place = words;
      words += aligned(count);
    };
    take(ids, size.tokens);
    take(positions, size.tokens);
    take(slots, size.tokens);
    take(sequence_of, size.tokens);
    take(sources, size.tokens);
    take(sample_rows, size.samples);
    take(temperatures, size.samples);
    take(divisors, size.samples);
    take(uniforms, size.samples);
    take(tables, size.sequences * table_width);
    take(counts, 2);
    take(copies, 2 * size.sequences);
    take(shaped_count, size.shaped > 0 ? 1 : 0);
    take(shaped, size.shaped * ops::kShapedWidth);
    take(whole, whole_places(size.sequences) + 1);
    take(prefill, most.prefill * ops::kPrefillWidth);
    take(decode, most.decode * ops::kDecodeWidth);
  }
};

StepRegions StepBuffers::plan(const ops::Context& ctx, const model::ModelConfig& model,
                              const SchedulerConfig& config, MemoryPlan& plan) {
  const auto use = MemoryUse::kWorkspace;
  StepRegions r;
  ops::PagedCounts most;
  const bool work = ctx.on_gpu() && ops::paged_work_fits(model.qkv(), config.page_size);
  if (work) {
    most = ops::most_paged_work(config.max_sequences, config.max_batch_tokens, config.max_model_len,
                                model.qkv());
    r.partials = plan.add(use, "engine.partials", DType::kF32,
                          {ops::paged_partials(config.max_sequences, config.max_model_len, model.qkv())});
    r.arrivals = plan.add(use, "engine.arrivals", DType::kI32, {config.max_sequences * model.num_kv_heads});
  }
  // Every sequence may sample: with siblings there are more draws than rows.
  const StepSize largest = {std::max(config.max_batch_tokens, config.max_sequences), config.max_sequences,
                            config.max_sequences, ctx.on_gpu() ? config.max_sequences : 0};
  if (ctx.on_gpu()) {
    const std::int64_t vocabulary = model.vocab_size, rows = config.max_sequences;
    r.lists = plan.add(use, "engine.lists", DType::kI32,
                       {rows * most_shaped_words(config.max_model_len, vocabulary)});
    r.marks = plan.add(use, "engine.marks", DType::kI32, {rows, (vocabulary + 31) / 32});
  }
  r.piece = plan.add(use, "engine.step", DType::kI32, {Layout(largest, table_width_of(config), most).words});
  r.drawn = plan.add(use, "engine.drawn", DType::kI32, {std::int64_t{2} * config.max_sequences});
  return r;
}

StepBuffers::StepBuffers(const ops::Context& ctx, const model::ModelConfig& model,
                         const SchedulerConfig& config, const Arena& arena, const StepRegions& regions)
    : ctx_(ctx),
      shape_(model.qkv()),
      config_(config),
      table_width_(table_width_of(config)),
      uses_work_(ops::takes_paged_work(ctx, model.qkv(), config.page_size)),
      piece_(arena[regions.piece]),
      drawn_(arena[regions.drawn]),
      sides_{Side(ctx), Side(ctx)} {
  if (uses_work_) {
    partials_ = arena[regions.partials];
    arrivals_ = arena[regions.arrivals];
    fill_bytes(arrivals_, 0);
  }
  if (!ctx.on_gpu()) {
    for (Side& side : sides_) {
      side.step = piece_.i32();
      side.drawn = drawn_.i32_span();
    }
    return;
  }
  lists_ = arena[regions.lists];
  marks_ = arena[regions.marks];
  const auto words = static_cast<std::size_t>(aligned(piece_.size()));
  const auto drawn = static_cast<std::size_t>(drawn_.size()),
             listed = static_cast<std::size_t>(lists_.size());
  const std::size_t of_side = words + static_cast<std::size_t>(aligned(drawn_.size())) + listed;
  pinned_.reset(cuda::staging::allocate_pinned(2 * of_side * sizeof(std::int32_t), ctx.device));
  auto* begin = static_cast<std::int32_t*>(pinned_.get());
  for (Side& side : sides_) {
    side.step = begin;
    side.drawn = {begin + words, drawn};
    side.lists = {begin + of_side - listed, listed};
    begin += of_side;
  }
}

StepBuffers::Layout StepBuffers::layout(const StepSize& size) const {
  ops::PagedCounts most;
  if (uses_work_) most = ops::most_paged_work(size.sequences, size.tokens, config_.max_model_len, shape_);
  return {size, table_width_, most};
}

StepViews StepBuffers::views(const StepSize& size) {
  const Layout at = layout(size);
  RLCPP_CHECK(at.words <= piece_.size());
  now_ = 1 - now_;
  std::int32_t* const host = side().step;
  const auto ints = [&](std::int64_t place, std::int64_t count) {
    return std::span(host + place, static_cast<std::size_t>(count));
  };
  const auto floats = [&](std::int64_t place, std::int64_t count) {
    return std::span(reinterpret_cast<float*>(host + place), static_cast<std::size_t>(count));
  };
  const auto device = [&](std::int64_t place, DType type, std::initializer_list<std::int64_t> shape) {
    return Tensor(static_cast<std::int32_t*>(piece_.raw()) + place, type, shape, piece_.device());
  };
  StepViews v;
  v.ids = ints(at.ids, size.tokens);
  v.positions = ints(at.positions, size.tokens);
  v.slots = ints(at.slots, size.tokens);
  v.sequence_of = ints(at.sequence_of, size.tokens);
  v.sources = ints(at.sources, size.tokens);
  v.sample_rows = ints(at.sample_rows, size.samples);
  v.temperatures = floats(at.temperatures, size.samples);
  v.divisors = floats(at.divisors, size.samples);
  v.uniforms = floats(at.uniforms, size.samples);
  v.block_tables = ints(at.tables, size.sequences * table_width_);
  v.copies = ints(at.copies, 2 * size.sequences);
  v.batch.ids = device(at.ids, DType::kI32, {size.tokens});
  v.batch.positions = device(at.positions, DType::kI32, {size.tokens});
  v.batch.slots = device(at.slots, DType::kI32, {size.tokens});
  v.batch.sequence_of = device(at.sequence_of, DType::kI32, {size.tokens});
  v.batch.block_tables = device(at.tables, DType::kI32, {size.sequences, table_width_});
  v.device_sources = device(at.sources, DType::kI32, {size.tokens});
  v.device_sample_rows = device(at.sample_rows, DType::kI32, {size.samples});
  v.device_temperatures = device(at.temperatures, DType::kF32, {size.samples});
  v.device_divisors = device(at.divisors, DType::kF32, {size.samples});
  v.device_uniforms = device(at.uniforms, DType::kF32, {size.samples});
  v.device_copies = device(at.copies, DType::kI32, {size.sequences, 2});
  if (size.shaped > 0) {
    v.shaped_count = ints(at.shaped_count, 1);
    v.shaped = {reinterpret_cast<ops::ShapedRow*>(host + at.shaped), static_cast<std::size_t>(size.shaped)};
    v.lists = side().lists;
    v.device_shaped = {device(at.shaped_count, DType::kI32, {1}),
                       device(at.shaped, DType::kI32, {size.shaped, ops::kShapedWidth}), lists_,
                       marks_.rows(0, size.shaped)};
  }
  if (!uses_work_) return v;
  v.whole = ints(at.whole, whole_places(size.sequences) + 1);
  v.device_whole = device(at.whole, DType::kI32, {whole_places(size.sequences) + 1});
  v.counts = ints(at.counts, 2);
  v.prefill = {reinterpret_cast<ops::PrefillEntry*>(host + at.prefill),
               static_cast<std::size_t>(at.most.prefill)};
  v.decode = {reinterpret_cast<ops::DecodeEntry*>(host + at.decode),
              static_cast<std::size_t>(at.most.decode)};
  ops::PagedWork& work = v.batch.work;
  work.counts = device(at.counts, DType::kI32, {2});
  work.prefill = device(at.prefill, DType::kI32, {at.most.prefill, ops::kPrefillWidth});
  work.decode = device(at.decode, DType::kI32, {at.most.decode, ops::kDecodeWidth});
  work.partials = partials_;
  work.arrivals = arrivals_;
  work.max_chunks = ops::chunks_of(config_.max_model_len);
  return v;
}

void StepBuffers::send(const StepSize& size, std::int64_t decode, std::int64_t lists) {
  if (pinned_ == nullptr) return;
  const Layout at = layout(size);
  const std::int64_t words = at.decode + aligned(decode * ops::kDecodeWidth);
  ops::copy_in_order(ctx_, piece_.rows(0, words),
                     host_view(std::span(side().step, static_cast<std::size_t>(words)), DType::kI32));
  if (lists == 0) return;
  ops::copy_in_order(ctx_, lists_.rows(0, lists),
                     host_view(side().lists.first(static_cast<std::size_t>(lists)), DType::kI32));
}

Tensor StepBuffers::drawn_logprobs(std::int64_t count) const {
  RLCPP_CHECK(count <= config_.max_sequences);
  return {static_cast<std::int32_t*>(drawn_.raw()) + config_.max_sequences,
          DType::kF32,
          {count},
          drawn_.device()};
}

int StepBuffers::fetch() {
  Side& to = sides_[static_cast<std::size_t>(now_)];
  if (pinned_ != nullptr) ops::copy_in_order(ctx_, host_view(to.drawn, DType::kI32), drawn_);
  to.fetched.mark();
  return now_;
}

StepBuffers::Drawn StepBuffers::wait(int side) const {
  const Side& from = sides_[static_cast<std::size_t>(side)];
  from.fetched.wait();
  const auto count = static_cast<std::size_t>(config_.max_sequences);
  return {from.drawn.first(count), {reinterpret_cast<const float*>(from.drawn.data() + count), count}};
}

}  // namespace rlcpp::rollout
