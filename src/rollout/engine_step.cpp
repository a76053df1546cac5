// A forward, from the scheduler's plan to the operations.
#include <algorithm>

#include "rollout/engine_state.h"
#include "rollout/shaped_draws.h"
#include "rollout/whole_documents.h"

namespace rlcpp::rollout {

void Engine::State::list_draws(const StepPlan& plan) {
  draws.clear();
  for (const StepPlan::Sample& sample : plan.samples) {
    const Sequence& sequence = scheduler.sequence(sample.sequence);
    const Output& output = outputs[static_cast<std::size_t>(sample.sequence)];
    draws.push_back({sample.row, output.request.get(), output.seed, sequence.outputs(), sequence.tokens});
  }
}

// The plan as the decoder wants it. Chunk i of the plan is sequence i of the batch. What a graph has beyond
// the plan is computed for the page that nobody reads.
void Engine::State::fill(const StepPlan& plan, StepViews& step) {
  const std::int32_t page_size = scheduler.config().page_size;
  const auto table_width = static_cast<std::size_t>(buffers.table_width());
  for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
    const StepPlan::Chunk& chunk = plan.chunks[i];
    const Sequence& sequence = scheduler.sequence(chunk.sequence);
    for (std::int32_t j = 0; j < chunk.count; ++j) {
      const std::int32_t position = chunk.start + j;
      const auto row = static_cast<std::size_t>(chunk.row) + static_cast<std::size_t>(j);
      const std::int32_t page = sequence.pages[static_cast<std::size_t>(position / page_size)];
      const std::int32_t id = sequence.tokens[static_cast<std::size_t>(position)];
      step.ids[row] = std::max(id, 0);
      step.sources[row] = id < 0 ? sources[static_cast<std::size_t>(chunk.sequence)] : -1;
      step.positions[row] = position;
      step.slots[row] = page * page_size + position % page_size;
      step.sequence_of[row] = static_cast<std::int32_t>(i);
    }
    std::ranges::copy(sequence.pages,
                      step.block_tables.begin() + static_cast<std::ptrdiff_t>(i * table_width));
  }
  for (std::size_t i = 0; i < plan.copies.size(); ++i) {
    step.copies[2 * i] = plan.copies[i].from;
    step.copies[2 * i + 1] = plan.copies[i].to;
  }
  for (std::size_t row = static_cast<std::size_t>(plan.tokens); row < step.ids.size(); ++row) {
    step.ids[row] = step.positions[row] = step.sequence_of[row] = 0;
    step.slots[row] = scheduler.config().num_pages * page_size;
    step.sources[row] = -1;
  }
  fill_adapters(plan, step);
}

// Rows of one adapter are neighbours in the plan; what a graph has beyond it goes with the last of them.
void Engine::State::fill_adapters(const StepPlan& plan, StepViews& step) {
  segments.clear();
  std::int32_t last = AdapterSlots::kNone;
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    const std::int32_t adapter = scheduler.sequence(chunk.sequence).adapter;
    if (segments.empty() || adapter != last) {
      const auto* views = adapter == AdapterSlots::kNone ? nullptr : &adapters.views(adapter);
      segments.push_back({views, chunk.row, 0});
      last = adapter;
    }
    segments.back().count += chunk.count;
  }
  segments.back().count += static_cast<std::int64_t>(step.ids.size()) - plan.tokens;
  step.batch.adapters = segments;
}

// What only a GPU reads: draws, and who is computed together. Returns the words of lists that draws need.
std::int64_t Engine::State::fill_work(const StepPlan& plan, StepViews& step) {
  for (std::size_t i = 0; i < draws.size(); ++i) {
    step.sample_rows[i] = draws[i].row;
    DeviceSampler::fill(draws[i], step.temperatures[i], step.divisors[i], step.uniforms[i]);
  }
  for (std::size_t i = draws.size(); i < step.sample_rows.size(); ++i) {
    step.sample_rows[i] = 0;
    step.temperatures[i] = step.divisors[i] = 1.0F;
    step.uniforms[i] = 0.0F;
  }
  const std::int64_t lists = step.device_shaped.empty() ? 0 : fill_shaped(draws, model.vocab_size, step);
  if (!buffers.uses_work()) return lists;
  paged.clear();
  const WholeRun whole = whole_run_on(ctx, model, plan.chunks);
  fill_whole_documents(plan.chunks, whole, step);
  for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
    const StepPlan::Chunk& chunk = plan.chunks[i];
    const bool elsewhere = i >= whole.begin && i < whole.end;
    paged.push_back(
        {chunk.row, chunk.start, elsewhere ? 0 : chunk.count, scheduler.sequence(chunk.sequence).pages});
  }
  const ops::PagedCounts counts =
      ops::fill_paged_work(paged, scheduler.config().page_size, model.qkv(), true, step.decode, step.prefill);
  step.counts[0] = static_cast<std::int32_t>(counts.decode);
  step.counts[1] = static_cast<std::int32_t>(counts.prefill);
  step.batch.work.launched = counts;
  return lists;
}

void Engine::State::copy_pages(const StepPlan& plan, const StepViews& step) const {
  // In runs whose pages are all apart: a page may be given on in the step that took it back.
  const auto& all = plan.copies;
  for (std::size_t begin = 0; begin < all.size();) {
    std::size_t end = begin + 1;
    const auto apart = [&](const StepPlan::Copy& next) {
      return std::none_of(
          all.begin() + static_cast<std::ptrdiff_t>(begin), all.begin() + static_cast<std::ptrdiff_t>(end),
          [&](const StepPlan::Copy& c) { return c.to == next.from || c.from == next.to || c.to == next.to; });
    };
    while (end < all.size() && apart(all[end])) ++end;
    const auto first = static_cast<std::int64_t>(begin), count = static_cast<std::int64_t>(end - begin);
    for (const ops::KvPages& layer : cache) ops::kv_copy(ctx, layer, step.device_copies.rows(first, count));
    begin = end;
  }
}

Flight Engine::State::ask(const StepPlan& plan) {
  list_draws(plan);
  Flight asked = ctx.on_gpu() ? ask_gpu(plan) : ask_cpu(plan);
  asked.samples = plan.samples;
  ++stats.forwards;
  return asked;
}

Flight Engine::State::ask_cpu(const StepPlan& plan) {
  StepViews step = buffers.views({plan.tokens, static_cast<std::int64_t>(plan.chunks.size()), 0});
  fill(plan, step);
  copy_pages(plan, step);
  ops::take_sampled(ctx, step.batch.ids, step.device_sources,
                    buffers.drawn_ids(scheduler.config().max_sequences));
  const Clock::time_point before_forward = Clock::now();
  const Tensor hidden = model::forward_paged(ctx, model, weights, packed, rope, step.batch, cache, scratch);
  stats.forward_seconds += seconds_since(before_forward);
  const Clock::time_point before_draw = Clock::now();
  Flight asked;
  asked.tokens.resize(draws.size());
  sampler->run(ctx, hidden, weights.head, packed.head, draws, asked.tokens);
  const std::span<std::int32_t> drawn = buffers.drawn_ids(static_cast<std::int64_t>(draws.size())).i32_span();
  std::ranges::transform(asked.tokens, drawn.begin(), &ops::SampledToken::id);
  stats.sample_seconds += seconds_since(before_draw);
  return asked;
}

// Every sequence computes one token and draws the next from it, and all read the same adapter or none: the
// products of a mixed batch depend on how many rows each has.
bool Engine::State::fits_graph(const StepPlan& plan) const {
  if (plan.samples.size() != plan.chunks.size()) return false;
  const auto adapter_of = [&](const StepPlan::Chunk& chunk) {
    return scheduler.sequence(chunk.sequence).adapter;
  };
  if (adapter_of(plan.chunks.front()) != adapter_of(plan.chunks.back())) return false;
  for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
    if (plan.chunks[i].count != 1 || plan.samples[i].row != plan.chunks[i].row) return false;
  }
  return true;
}

namespace {

// Rows of the graph that `rows` take: few enough graphs for all to be recorded, close enough for no row to
// cost much more.
std::int64_t padded_rows(std::int64_t rows, std::int64_t most) {
  std::int64_t step = 1;
  if (rows > 4) step = 4;
  if (rows > 8) step = 8;
  if (rows > 64) step = 16;
  if (rows > 256) step = 32;
  if (rows > 512) step = 64;
  return std::min((rows + step - 1) / step * step, most);
}

}  // namespace

Flight Engine::State::ask_gpu(const StepPlan& plan) {
  const bool graphed = fits_graph(plan);
  const auto draws_here = static_cast<std::int64_t>(draws.size());
  StepSize size = {plan.tokens, static_cast<std::int64_t>(plan.chunks.size()), draws_here};
  if (graphed) {
    const SchedulerConfig& c = scheduler.config();
    const std::int64_t rows =
        padded_rows(plan.tokens, std::min<std::int64_t>(c.max_sequences, c.max_batch_tokens));
    size = {rows, rows, rows};
  }
  const bool shaped = std::ranges::any_of(draws, is_shaped);
  if (shaped) size.shaped = size.samples;
  StepViews step = buffers.views(size);
  step.batch.decodes = graphed;
  fill(plan, step);
  const std::int64_t lists = fill_work(plan, step);
  const Clock::time_point before_forward = Clock::now();
  buffers.send(size, step.batch.work.launched.decode, lists);
  copy_pages(plan, step);
  const auto compute = [&] {
    ops::take_sampled(ctx, step.batch.ids, step.device_sources,
                      buffers.drawn_ids(scheduler.config().max_sequences));
    const Tensor hidden = model::forward_paged(ctx, model, weights, packed, rope, step.batch, cache, scratch);
    device_sampler->queue(ctx, hidden, weights.head, packed.head, step, buffers.drawn_ids(size.samples),
                          buffers.drawn_logprobs(size.samples));
  };
  const std::tuple key(scheduler.sequence(plan.chunks.front().sequence).adapter, size.tokens, shaped);
  const auto place = graphed ? graphs.find(key) : graphs.end();
  if (place != graphs.end()) {
    place->second.launch();
  } else {
    compute();
  }
  Flight asked;
  asked.side = buffers.fetch();
  stats.forward_seconds += seconds_since(before_forward);
  // The first step of a size has made all plans; the next ones are one call.
  if (graphed && place == graphs.end()) graphs.emplace(key, ops::Graph(ctx, compute));
  return asked;
}

}  // namespace rlcpp::rollout
