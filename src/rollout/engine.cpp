#include "rollout/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "rollout/engine_regions.h"
#include "rollout/stop_matcher.h"

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
        scratch(model::make_paged_scratch(model_config, arena, regions.scratch)),
        sampler(arena, regions.sampler) {
    for (std::size_t layer = 0; layer < regions.k.size(); ++layer) {
      cache.push_back({arena[regions.k[layer]], arena[regions.v[layer]]});
    }
    ids = arena[regions.ids];
    positions = arena[regions.positions];
    slots = arena[regions.slots];
    sequence_of = arena[regions.sequence_of];
    block_tables = arena[regions.block_tables];
  }

  void copy_pages(const StepPlan& plan) const;
  model::PagedBatch fill_batch(const StepPlan& plan) const;
  void draw_tokens(const StepPlan& plan, const Tensor& hidden);
  bool record(SequenceHandle handle, const ops::SampledToken& token, FinishReason& reason);
  void finish(SequenceHandle handle, FinishReason reason);

  ops::Context ctx;
  model::ModelConfig model;
  model::WeightSet weights, packed;
  model::RopeTables rope;
  std::function<std::string(std::int32_t)> token_bytes;

  Scheduler scheduler;
  model::PagedScratch scratch;
  Sampler sampler;
  std::vector<ops::KvPages> cache;
  Tensor ids, positions, slots, sequence_of, block_tables;

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
}

Engine::~Engine() = default;

void Engine::set_version(std::int64_t version) {
  state_->scheduler.new_weights();
  state_->version = version;
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
  const auto shared = std::make_shared<const GroupRequest>(std::move(request));
  std::vector<SequenceHandle> handles;
  s.scheduler.add_group(shared->id, shared->prompt, shared->n, shared->max_tokens, handles);
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
    s.copy_pages(plan);
    const model::PagedBatch batch = s.fill_batch(plan);
    const Clock::time_point before_forward = Clock::now();
    const Tensor hidden =
        model::forward_paged(s.ctx, s.model, s.weights, s.packed, s.rope, batch, s.cache, s.scratch);
    s.stats.forward_seconds += seconds_since(before_forward);
    const Clock::time_point before_draw = Clock::now();
    s.draw_tokens(plan, hidden);
    s.stats.sample_seconds += seconds_since(before_draw);
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
  while (!idle()) {
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
  stats.pages_used_peak = of_scheduler.pages_peak;
  return stats;
}

void Engine::State::copy_pages(const StepPlan& plan) const {
  for (const StepPlan::Copy& copy : plan.copies) {
    for (const ops::KvPages& layer : cache) {
      for (const Tensor& pages : {layer.k, layer.v}) {
        const Tensor to = pages.rows(copy.to, 1);
        std::memcpy(to.raw(), pages.rows(copy.from, 1).raw(), to.bytes());
      }
    }
  }
}

// The plan as the decoder wants it. Chunk i of the plan is sequence i of the batch.
model::PagedBatch Engine::State::fill_batch(const StepPlan& plan) const {
  const std::int32_t page_size = scheduler.config().page_size;
  const auto table_width = static_cast<std::size_t>(block_tables.dim(1));
  for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
    const StepPlan::Chunk& chunk = plan.chunks[i];
    const Sequence& sequence = scheduler.sequence(chunk.sequence);
    for (std::int32_t j = 0; j < chunk.count; ++j) {
      const std::int32_t position = chunk.start + j;
      const std::int32_t row = chunk.row + j;
      const std::int32_t page = sequence.pages[static_cast<std::size_t>(position / page_size)];
      ids.i32()[row] = sequence.tokens[static_cast<std::size_t>(position)];
      positions.i32()[row] = position;
      slots.i32()[row] = page * page_size + position % page_size;
      sequence_of.i32()[row] = static_cast<std::int32_t>(i);
    }
    std::memcpy(block_tables.i32() + i * table_width, sequence.pages.data(),
                sequence.pages.size() * sizeof(std::int32_t));
  }
  const auto count = static_cast<std::int64_t>(plan.chunks.size());
  return {ids.rows(0, plan.tokens), positions.rows(0, plan.tokens), slots.rows(0, plan.tokens),
          sequence_of.rows(0, plan.tokens), block_tables.rows(0, count)};
}

void Engine::State::draw_tokens(const StepPlan& plan, const Tensor& hidden) {
  draws.clear();
  for (const StepPlan::Sample& sample : plan.samples) {
    const Sequence& sequence = scheduler.sequence(sample.sequence);
    const Output& output = outputs[static_cast<std::size_t>(sample.sequence)];
    draws.push_back({sample.row, output.request.get(), output.seed, sequence.outputs(), sequence.tokens});
  }
  tokens.resize(draws.size());
  sampler.run(ctx, hidden, weights.head, packed.head, draws, tokens);
  for (const ops::SampledToken& token : tokens) token_ids.push_back(token.id);
  stats.sampled_tokens += static_cast<std::int64_t>(tokens.size());
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
