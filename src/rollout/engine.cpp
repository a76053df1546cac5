#include "rollout/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "ops/graph.h"
#include "rollout/engine_regions.h"
#include "rollout/shaped_draws.h"
#include "rollout/stop_matcher.h"
#include "rollout/whole_documents.h"

namespace rlcpp::rollout {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the engine knows of a sequence beyond its tokens, which the scheduler keeps.
struct Output {
  std::shared_ptr<const GroupRequest> request;
  std::uint64_t seed = 0;
  std::vector<float> logprobs;
  std::vector<std::int64_t> versions;
  StopMatcher stop;
};

}  // namespace

struct Engine::State {
  State(const ops::Context& context, const model::ModelConfig& model_config, const Arena& arena,
        const Regions& regions, const model::WeightSet& weight_set, const model::WeightSet& packed_set,
        const model::RopeTables& rope_tables, std::function<std::string(std::int32_t)> bytes)
      : ctx(context),
        model(model_config),
        weights(weight_set),
        packed(packed_set),
        rope(rope_tables),
        token_bytes(std::move(bytes)),
        scheduler(regions.scheduler),
        adapters(model_config, arena, regions.adapters),
        buffers(context, model_config, regions.scheduler, arena, regions.step),
        scratch(model::make_paged_scratch(model_config, arena, regions.scratch)) {
    segments.reserve(static_cast<std::size_t>(adapters.count()) + 1);
    for (std::size_t layer = 0; layer < regions.k.size(); ++layer) {
      cache.push_back({arena[regions.k[layer]], arena[regions.v[layer]]});
    }
    if (context.on_gpu()) {
      device_sampler.emplace(arena, regions.device_sampler);
    } else {
      sampler.emplace(arena, regions.sampler);
    }
  }

  void list_draws(const StepPlan& plan);
  void fill(const StepPlan& plan, StepViews& step);
  std::int64_t fill_work(const StepPlan& plan, StepViews& step);
  void copy_pages(const StepPlan& plan, const StepViews& step) const;
  void run_on_cpu(const StepPlan& plan);
  void run_on_gpu(const StepPlan& plan);
  void fill_adapters(const StepPlan& plan, StepViews& step);
  void abort_begun(std::optional<std::int32_t> adapter);
  bool fits_graph(const StepPlan& plan) const;
  bool record(SequenceHandle handle, const ops::SampledToken& token, FinishReason& reason);
  void finish(SequenceHandle handle, FinishReason reason);

  ops::Context ctx;
  model::ModelConfig model;
  model::WeightSet weights, packed;
  model::RopeTables rope;
  std::function<std::string(std::int32_t)> token_bytes;

  WeightChange on_new_weights = WeightChange::kRecompute;
  Scheduler scheduler;
  AdapterSlots adapters;
  std::vector<model::AdapterRows> segments;  // of this step
  StepBuffers buffers;
  model::PagedScratch scratch;
  std::optional<Sampler> sampler;  // on the CPU
  std::optional<DeviceSampler> device_sampler;
  std::vector<ops::KvPages> cache;
  // Of steps that only decode, with one adapter or none: by that, their padded number of rows, and whether
  // draws are shaped.
  std::map<std::tuple<std::int32_t, std::int64_t, bool>, ops::Graph> graphs;
  std::vector<ops::PagedSequence> paged;  // of this step

  std::int64_t version = 0;
  std::vector<Output> outputs;            // by handle
  std::vector<SampledSequence> finished;  // not yet returned
  std::vector<Draw> draws;                // of this step, as the next two
  std::vector<ops::SampledToken> tokens;
  std::vector<std::int32_t> token_ids;
  EngineStats stats;
};

Engine::Engine(const ops::Context& ctx, const model::ModelConfig& model, const EngineConfig& config,
               const Arena& arena, const std::shared_ptr<Regions>& regions, const model::WeightSet& weights,
               const model::WeightSet& packed, const model::RopeTables& rope,
               std::function<std::string(std::int32_t)> token_bytes)
    : state_(std::make_unique<State>(ctx, model, arena, *regions, weights, packed, rope,
                                     std::move(token_bytes))) {
  RLCPP_CHECK(config.max_model_len == regions->scheduler.max_model_len);
  RLCPP_CHECK(config.max_sequences == regions->scheduler.max_sequences);
  RLCPP_CHECK(rope.cos.dim(0) >= config.max_model_len);
  RLCPP_CHECK(config.max_loras == state_->adapters.count());
  state_->on_new_weights = config.on_new_weights;
}

Engine::~Engine() = default;

void Engine::set_version(std::int64_t version) {
  State& s = *state_;
  if (s.on_new_weights == WeightChange::kAbort) s.abort_begun({});
  s.scheduler.new_weights(s.on_new_weights);
  s.version = version;
}

void Engine::hold_for_weights() {
  if (state_->on_new_weights == WeightChange::kDrain) state_->scheduler.hold();
}

bool Engine::ready_for_weights() const {
  return state_->on_new_weights != WeightChange::kDrain || state_->scheduler.drained();
}

void Engine::load_adapter(const std::string& name, const std::string& dir) {
  State& s = *state_;
  const std::int32_t slot = s.adapters.place_for(name);
  const StagedAdapter staged = stage_adapter(s.model, dir, s.adapters.rank(), s.ctx.pool);
  if (s.on_new_weights == WeightChange::kDrain && !s.scheduler.drained(slot)) {
    throw bad_input(fmt::format("the adapter \"{}\" cannot be replaced now", name),
                    "requests that have begun still read it, and new weights wait for them (drain)",
                    "step the engine until it is ready for weights");
  }
  ops::synchronize(s.ctx);
  if (s.on_new_weights == WeightChange::kAbort) s.abort_begun(slot);
  s.adapters.store(slot, name, staged);
  s.scheduler.new_weights(s.on_new_weights, slot);
  // Its tensors may have another shape now.
  std::erase_if(s.graphs, [&](const auto& graph) { return std::get<0>(graph.first) == slot; });
}

void Engine::unload_adapter(const std::string& name) {
  State& s = *state_;
  const std::int32_t slot = s.adapters.named(name, "unloading");
  if (slot == AdapterSlots::kNone || s.scheduler.uses(slot)) {
    throw bad_input(
        fmt::format("the adapter \"{}\" cannot be unloaded now", name),
        slot == AdapterSlots::kNone ? "no adapter has that name" : "requests that are here read it",
        "wait for them, or abort them");
  }
  s.adapters.clear(slot);
}

std::vector<std::string> Engine::adapters() const {
  return state_->adapters.names();
}

std::int64_t Engine::version() const {
  return state_->version;
}

void Engine::submit(GroupRequest request) {
  State& s = *state_;
  check_request(request, {.vocab_size = s.model.vocab_size,
                          .max_model_len = s.scheduler.config().max_model_len,
                          .has_token_bytes = static_cast<bool>(s.token_bytes)});
  if (s.scheduler.has_group(request.id)) {
    throw bad_input(fmt::format("request {}: id is already in use", request.id),
                    "a group of this id has not finished yet", "give every group an id of its own");
  }
  const std::int32_t adapter = s.adapters.named(request.adapter, fmt::format("request {}", request.id));
  const auto shared = std::make_shared<const GroupRequest>(std::move(request));
  std::vector<SequenceHandle> handles;
  s.scheduler.add_group(shared->id, shared->prompt, shared->n, shared->max_tokens, handles, adapter,
                        shared->cache_salt);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const auto handle = static_cast<std::size_t>(handles[i]);
    if (handle >= s.outputs.size()) s.outputs.resize(handle + 1);
    s.outputs[handle] = {shared, shared->seeds[i], {}, {}, {}};
  }
}

void Engine::abort(std::int64_t group_id) {
  for (const SequenceHandle handle : state_->scheduler.members(group_id)) {
    state_->finish(handle, FinishReason::kAborted);
  }
}

bool Engine::idle() const {
  return state_->scheduler.idle() && state_->finished.empty();
}

std::vector<SampledSequence> Engine::step() {
  State& s = *state_;
  const Clock::time_point start = Clock::now();
  const StepPlan& plan = s.scheduler.schedule();
  s.token_ids.clear();
  if (plan.tokens > 0) {
    s.list_draws(plan);
    s.ctx.on_gpu() ? s.run_on_gpu(plan) : s.run_on_cpu(plan);
    for (const ops::SampledToken& token : s.tokens) s.token_ids.push_back(token.id);
    s.stats.sampled_tokens += static_cast<std::int64_t>(s.tokens.size());
    ++s.stats.forwards;
  }
  s.scheduler.commit(s.token_ids);
  for (std::size_t i = 0; i < s.token_ids.size(); ++i) {
    FinishReason reason;
    if (s.record(plan.samples[i].sequence, s.tokens[i], reason)) s.finish(plan.samples[i].sequence, reason);
  }
  s.stats.seconds += seconds_since(start);
  return std::exchange(s.finished, {});
}

std::vector<SampledSequence> Engine::run() {
  std::vector<SampledSequence> all;
  const auto stuck = [&] { return state_->scheduler.held() && state_->scheduler.drained(); };
  while (!idle() && !(stuck() && state_->finished.empty())) {
    for (SampledSequence& sequence : step()) all.push_back(std::move(sequence));
  }
  return all;
}

std::vector<std::span<const std::int32_t>> Engine::outputs(std::int64_t group_id) const {
  std::vector<std::span<const std::int32_t>> all;
  for (const SequenceHandle handle : state_->scheduler.members(group_id)) {
    const Sequence& sequence = state_->scheduler.sequence(handle);
    all.push_back(std::span(sequence.tokens).subspan(static_cast<std::size_t>(sequence.prompt_tokens)));
  }
  return all;
}

const EngineStats& Engine::stats() const {
  const SchedulerStats& of_scheduler = state_->scheduler.stats();
  EngineStats& stats = state_->stats;
  stats.prefill_tokens = of_scheduler.prefill_tokens;
  stats.decode_tokens = of_scheduler.decode_tokens;
  stats.cached_tokens = of_scheduler.cached_tokens;
  stats.preemptions = of_scheduler.preemptions;
  stats.recomputed_sequences = of_scheduler.recomputed_sequences;
  stats.kept_sequences = of_scheduler.kept_sequences;
  stats.pages_used_peak = of_scheduler.pages_peak;
  return stats;
}

void Engine::State::list_draws(const StepPlan& plan) {
  draws.clear();
  for (const StepPlan::Sample& sample : plan.samples) {
    const Sequence& sequence = scheduler.sequence(sample.sequence);
    const Output& output = outputs[static_cast<std::size_t>(sample.sequence)];
    draws.push_back({sample.row, output.request.get(), output.seed, sequence.outputs(), sequence.tokens});
  }
  tokens.resize(draws.size());
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
      step.ids[row] = sequence.tokens[static_cast<std::size_t>(position)];
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

void Engine::State::abort_begun(std::optional<std::int32_t> adapter) {
  for (const SequenceHandle handle : scheduler.begun(adapter)) finish(handle, FinishReason::kAborted);
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

void Engine::State::run_on_cpu(const StepPlan& plan) {
  StepViews step = buffers.views({plan.tokens, static_cast<std::int64_t>(plan.chunks.size()), 0});
  fill(plan, step);
  copy_pages(plan, step);
  const Clock::time_point before_forward = Clock::now();
  const Tensor hidden = model::forward_paged(ctx, model, weights, packed, rope, step.batch, cache, scratch);
  stats.forward_seconds += seconds_since(before_forward);
  const Clock::time_point before_draw = Clock::now();
  sampler->run(ctx, hidden, weights.head, packed.head, draws, tokens);
  stats.sample_seconds += seconds_since(before_draw);
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

void Engine::State::run_on_gpu(const StepPlan& plan) {
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
  buffers.fetch(draws_here);
  stats.forward_seconds += seconds_since(before_forward);
  // The first step of a size has made all plans; the next ones are one call.
  if (graphed && place == graphs.end()) graphs.emplace(key, ops::Graph(ctx, compute));
  const Clock::time_point before_draw = Clock::now();
  DeviceSampler::take(draws, buffers.fetched_ids(), buffers.fetched_logprobs(), tokens);
  stats.sample_seconds += seconds_since(before_draw);
}

// Notes a token that the scheduler has already appended. True if it was the last one.
bool Engine::State::record(SequenceHandle handle, const ops::SampledToken& token, FinishReason& reason) {
  Output& output = outputs[static_cast<std::size_t>(handle)];
  const GroupRequest& request = *output.request;
  output.logprobs.push_back(token.logprob);
  output.versions.push_back(version);
  const Sequence& sequence = scheduler.sequence(handle);

  bool stopped = std::ranges::find(request.stop_ids, token.id) != request.stop_ids.end();
  if (!request.stop_strings.empty()) {
    const bool matched = output.stop.feed(token_bytes(token.id), request.stop_strings);
    stopped = stopped || (matched && sequence.outputs() > request.min_tokens);
  }
  reason = stopped ? FinishReason::kStop : FinishReason::kLength;
  return stopped || sequence.outputs() >= request.max_tokens ||
         sequence.known() >= scheduler.config().max_model_len;
}

void Engine::State::finish(SequenceHandle handle, FinishReason reason) {
  Output& output = outputs[static_cast<std::size_t>(handle)];
  const Sequence& sequence = scheduler.sequence(handle);
  SampledSequence result;
  result.group = sequence.group;
  result.sample = sequence.sample;
  result.ids.assign(sequence.tokens.begin() + sequence.prompt_tokens, sequence.tokens.end());
  result.logprobs = std::move(output.logprobs);
  result.versions = std::move(output.versions);
  result.finish = reason;
  finished.push_back(std::move(result));
  output = {};
  scheduler.remove(handle);
}

}  // namespace rlcpp::rollout
