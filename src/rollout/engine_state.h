// The inside of the engine: engine.cpp has its calls, engine_step.cpp how a forward is asked for, and
// engine_ahead.cpp how the next one is asked for before this one's draws are here.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "ops/graph.h"
#include "rollout/engine_regions.h"
#include "rollout/stop_matcher.h"

namespace rlcpp::rollout {

// What the engine knows of a sequence beyond its tokens, which the scheduler keeps.
struct Output {
  std::shared_ptr<const GroupRequest> request;
  std::uint64_t seed = 0;
  std::vector<float> logprobs;
  std::vector<std::int64_t> versions;
  StopMatcher stop;
};

// A forward that was asked for: its draws are not here yet.
struct Flight {
  std::vector<StepPlan::Sample> samples;
  int side = 0;                           // of the step's buffers; on a GPU
  std::vector<ops::SampledToken> tokens;  // on the CPU, where all is done at once
  // Once the scheduler goes on without the tokens: where each belongs among those of its sequence.
  std::vector<std::int32_t> places;
  bool committed = false;
};

// A sequence whose last token is on its way: the scheduler has let it go. `sample` is its draw.
struct Ending {
  std::size_t sample = 0;
  Output output;
  SampledSequence result;
};

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void list_draws(const StepPlan& plan);
  void fill(const StepPlan& plan, StepViews& step);
  std::int64_t fill_work(const StepPlan& plan, StepViews& step);
  void copy_pages(const StepPlan& plan, const StepViews& step) const;
  Flight ask(const StepPlan& plan);
  Flight ask_cpu(const StepPlan& plan);
  Flight ask_gpu(const StepPlan& plan);
  void fill_adapters(const StepPlan& plan, StepViews& step);
  void abort_begun(std::optional<std::int32_t> adapter);
  bool fits_graph(const StepPlan& plan) const;

  std::optional<Flight> begin();
  bool may_look_ahead() const;
  void commit_unseen(Flight& of);
  std::optional<Flight> look_ahead(Flight& now);
  void take(Flight& of);
  void settle();
  void remove_ended();

  void note(Output& output, const ops::SampledToken& token);
  std::optional<FinishReason> ends(Output& output, std::int32_t id, std::int64_t outputs, std::int64_t known);
  SampledSequence result_of(SequenceHandle handle, Output& output) const;
  void finish(SequenceHandle handle, FinishReason reason);
  void forget(Output& output);

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
  bool looks_ahead = false;
  std::optional<Flight> flight;
  std::vector<Ending> endings;            // of that flight
  std::vector<SequenceHandle> ended;      // that the scheduler still has: it was planning with them
  std::int64_t penalised = 0;             // sequences whose draws depend on the tokens before
  std::vector<std::int32_t> sources;      // by handle: the flight's draw whose token is not here yet, or -1
  std::vector<Output> outputs;            // by handle
  std::vector<SampledSequence> finished;  // not yet returned
  std::vector<Draw> draws;                // of this step
  std::vector<std::int32_t> token_ids;
  EngineStats stats;
};

}  // namespace rlcpp::rollout
