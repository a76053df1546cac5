// What a step tells the device, in one piece of memory and one copy: tokens, positions, slots, pages, draws.
// Lists of ids that shaped draws need (ops/shaped_rows.h) are a piece and a copy of their own, where there
// are any. The host writes its own side, which is pinned memory on a GPU and the device's memory itself on
// the CPU. Where things lie in the piece depends on the step's numbers alone, so steps of the same numbers
// find everything at the same addresses.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "model/decoder.h"
#include "ops/context.h"
#include "ops/shaped_rows.h"
#include "rollout/scheduler.h"
#include "tensor/arena.h"
#include "tensor/staging.h"

namespace rlcpp::rollout {

struct StepRegions {
  RegionId piece;               // i32
  RegionId partials, arrivals;  // of ops::PagedWork; none where the shape has no use for it
  RegionId ids, logprobs;       // [max_sequences]: what was drawn
  RegionId lists, marks;        // of ops::ShapedRows; none on the CPU
};

// The numbers of a step, or of several that share a graph.
struct StepSize {
  std::int64_t tokens = 0, sequences = 0, samples = 0;
  std::int64_t shaped = 0;  // room for as many shaped draws
};

// Documents that attention over whole ones is asked for, when there are at most `sequences`: of few numbers,
// as cuDNN makes a plan for each.
std::int64_t whole_places(std::int64_t sequences);

// The views of a step: the host's side to be written, the device's to be read.
struct StepViews {
  std::span<std::int32_t> ids, positions, slots, sequence_of;  // [tokens]
  std::span<std::int32_t> sample_rows;                         // [samples]
  std::span<float> temperatures, divisors, uniforms;           // [samples]
  std::span<std::int32_t> block_tables;                        // [sequences, table_width]
  std::span<std::int32_t> copies;                              // [sequences, 2]: pages, from and to
  std::span<std::int32_t>
      whole;  // [whole_places + 1]: boundaries of whole documents; empty without paged work
  std::span<std::int32_t> counts;  // of paged work; empty: none is used, as the next two
  std::span<ops::PrefillEntry> prefill;
  std::span<ops::DecodeEntry> decode;    // the last of the piece, so that only what is used is copied
  std::span<std::int32_t> shaped_count;  // [1]; empty, as the next two: no room was asked for
  std::span<ops::ShapedRow> shaped;      // [shaped]
  std::span<std::int32_t> lists;
  model::PagedBatch batch;
  ops::ShapedRows device_shaped;
  Tensor device_whole, device_sample_rows, device_temperatures, device_divisors, device_uniforms,
      device_copies;
};

class StepBuffers {
 public:
  static StepRegions plan(const ops::Context& ctx, const model::ModelConfig& model,
                          const SchedulerConfig& config, MemoryPlan& plan);
  StepBuffers(const ops::Context& ctx, const model::ModelConfig& model, const SchedulerConfig& config,
              const Arena& arena, const StepRegions& regions);

  // The places of a step of this size. What the host's side held is gone once this step's copy has begun.
  StepViews views(const StepSize& size);
  // Brings the host's side to the device, in order with operations. `decode` entries and `lists` words of
  // lists are in use.
  void send(const StepSize& size, std::int64_t decode, std::int64_t lists);
  // True if attention reads ops::PagedWork here.
  bool uses_work() const { return uses_work_; }
  std::int64_t table_width() const { return table_width_; }

  // What was drawn: on the device, and fetched to the host, which waits for it.
  Tensor drawn_ids(std::int64_t count) const { return ids_.rows(0, count); }
  Tensor drawn_logprobs(std::int64_t count) const { return logprobs_.rows(0, count); }
  void fetch(std::int64_t count);
  std::span<const std::int32_t> fetched_ids() const { return host_ids_; }
  std::span<const float> fetched_logprobs() const { return host_logprobs_; }

 private:
  struct Layout;
  Layout layout(const StepSize& size) const;

  ops::Context ctx_;
  ops::QkvShape shape_;
  SchedulerConfig config_;
  std::int64_t table_width_ = 0;
  bool uses_work_ = false;
  Tensor piece_, partials_, arrivals_, ids_, logprobs_, lists_, marks_;
  cuda::staging::Pinned pinned_;  // null on the CPU
  std::int32_t* host_ = nullptr;
  std::span<std::int32_t> host_ids_;
  std::span<float> host_logprobs_;
  std::span<std::int32_t> host_lists_;
};

}  // namespace rlcpp::rollout
