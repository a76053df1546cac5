// What a step tells the device, in one piece of memory and one copy: tokens, positions, slots, pages, draws.
// Lists of ids that shaped draws need (ops/shaped_rows.h) are a piece and a copy of their own, where there
// are any. The host writes its own side, which is pinned memory on a GPU and the device's memory itself on
// the CPU. Where things lie in the piece depends on the step's numbers alone, so steps of the same numbers
// find everything at the same addresses.
//
// The host has two sides, so that a step can be written while the one before it is still on its way; the
// device has one, since its steps come one after the other.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "model/decoder.h"
#include "ops/context.h"
#include "ops/moment.h"
#include "ops/shaped_rows.h"
#include "rollout/scheduler.h"
#include "tensor/arena.h"
#include "tensor/staging.h"

namespace rlcpp::rollout {

struct StepRegions {
  RegionId piece;               // i32
  RegionId partials, arrivals;  // of ops::PagedWork; none where the shape has no use for it
  RegionId drawn;               // [2 * max_sequences] i32: ids, then log-probabilities as f32
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
  std::span<std::int32_t> sources;                             // [tokens]: of ops::take_sampled
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
  Tensor device_whole, device_sources, device_sample_rows, device_temperatures, device_divisors,
      device_uniforms, device_copies;
};

class StepBuffers {
 public:
  static StepRegions plan(const ops::Context& ctx, const model::ModelConfig& model,
                          const SchedulerConfig& config, MemoryPlan& plan);
  StepBuffers(const ops::Context& ctx, const model::ModelConfig& model, const SchedulerConfig& config,
              const Arena& arena, const StepRegions& regions);

  // The places of a step of this size on the host's other side. What that held is gone: it is of the step
  // before the last one.
  StepViews views(const StepSize& size);
  // Brings that side to the device, in order with operations. `decode` entries and `lists` words of lists
  // are in use.
  void send(const StepSize& size, std::int64_t decode, std::int64_t lists);
  // True if attention reads ops::PagedWork here.
  bool uses_work() const { return uses_work_; }
  std::int64_t table_width() const { return table_width_; }

  // What `count` draws gave: on the device, all in the same place whatever the step's numbers...
  Tensor drawn_ids(std::int64_t count) const { return drawn_.rows(0, count); }
  Tensor drawn_logprobs(std::int64_t count) const;
  // ... and on its way to the host's side, which the number names for wait().
  int fetch();
  // All that was drawn, once it is there; valid until that side is written again. Not on the CPU, where the
  // next step draws into the same memory.
  struct Drawn {
    std::span<const std::int32_t> ids;
    std::span<const float> logprobs;
  };
  Drawn wait(int side) const;

 private:
  struct Layout;
  Layout layout(const StepSize& size) const;

  // The host's memory of one step.
  struct Side {
    std::int32_t* step = nullptr;
    std::span<std::int32_t> drawn, lists;
    ops::Moment fetched;
    explicit Side(const ops::Context& ctx) : fetched(ctx) {}
  };
  const Side& side() const { return sides_[static_cast<std::size_t>(now_)]; }

  ops::Context ctx_;
  ops::QkvShape shape_;
  SchedulerConfig config_;
  std::int64_t table_width_ = 0;
  bool uses_work_ = false;
  Tensor piece_, partials_, arrivals_, drawn_, lists_, marks_;
  cuda::staging::Pinned pinned_;  // null on the CPU
  std::array<Side, 2> sides_;
  int now_ = 0;
};

}  // namespace rlcpp::rollout
