#include "rollout/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "rollout/engine_state.h"

namespace rlcpp::rollout {

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
  state_->looks_ahead = config.look_ahead.value_or(ctx.on_gpu());
}

Engine::~Engine() = default;

void Engine::set_version(std::int64_t version) {
  State& s = *state_;
  s.settle();
  if (s.on_new_weights == WeightChange::kAbort) s.abort_begun({});
  s.scheduler.new_weights(s.on_new_weights);
  s.version = version;
}

void Engine::hold_for_weights() {
  state_->settle();
  if (state_->on_new_weights == WeightChange::kDrain) state_->scheduler.hold();
}

bool Engine::ready_for_weights() const {
  const bool ready = state_->on_new_weights != WeightChange::kDrain || state_->scheduler.drained();
  if (ready) state_->settle();  // nothing reads the weights any more
  return ready;
}

void Engine::load_adapter(const std::string& name, const std::string& dir) {
  State& s = *state_;
  s.settle();
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
  s.settle();
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
  // It may be one whose last sequence was returned while the scheduler planned with it.
  if (s.scheduler.has_group(request.id)) s.settle();
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
  if (shared->sampling.repetition_penalty != 1.0F) s.penalised += shared->n;
}

void Engine::abort(std::int64_t group_id) {
  state_->settle();
  for (const SequenceHandle handle : state_->scheduler.members(group_id)) {
    state_->finish(handle, FinishReason::kAborted);
  }
}

bool Engine::idle() const {
  return state_->scheduler.idle() && state_->finished.empty() && !state_->flight.has_value();
}

std::vector<SampledSequence> Engine::step() {
  State& s = *state_;
  const Clock::time_point start = Clock::now();
  if (!s.flight.has_value()) s.flight = s.begin();
  if (s.flight.has_value()) {
    Flight now = std::move(*s.flight);
    s.flight = s.may_look_ahead() ? s.look_ahead(now) : std::nullopt;
    s.take(now);
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
    if (state_->outputs[static_cast<std::size_t>(handle)].request == nullptr) continue;  // it has ended
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

void Engine::State::abort_begun(std::optional<std::int32_t> adapter) {
  for (const SequenceHandle handle : scheduler.begun(adapter)) finish(handle, FinishReason::kAborted);
}

SampledSequence Engine::State::result_of(SequenceHandle handle, Output& output) const {
  const Sequence& sequence = scheduler.sequence(handle);
  SampledSequence result;
  result.group = sequence.group;
  result.sample = sequence.sample;
  result.ids.assign(sequence.tokens.begin() + sequence.prompt_tokens, sequence.tokens.end());
  result.logprobs = std::move(output.logprobs);
  result.versions = std::move(output.versions);
  return result;
}

// It is returned by the next step(). What the scheduler is planning with leaves it later.
void Engine::State::finish(SequenceHandle handle, FinishReason reason) {
  Output& output = outputs[static_cast<std::size_t>(handle)];
  finished.push_back(result_of(handle, output));
  finished.back().finish = reason;
  forget(output);
  if (scheduler.planning()) {
    ended.push_back(handle);
  } else {
    scheduler.remove(handle);
  }
}

void Engine::State::forget(Output& output) {
  if (output.request->sampling.repetition_penalty != 1.0F) --penalised;
  output = {};
}

}  // namespace rlcpp::rollout
