// Optimizer state that rests in the host's memory. An update brings it to the device a chunk at a time, runs
// the same update as ever, and takes it back: chunks go in on one queue and out on another, through three
// places, so that a link carries both directions while the operations work. Elements are updated one by one,
// so the bits are those of state that stays on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/copy_queue.h"
#include "tensor/arena.h"
#include "train/optimizer.h"

namespace rlcpp::train {

struct StreamRegions {
  // [places, elements of a chunk]; master: none where the decoder reads f32; moments: those that there are.
  RegionId master, first, second;
  std::int64_t chunk = 0;  // elements
};

// At most `chunk` elements are in a place, and no more than the largest of `parameters` has.
StreamRegions plan_stream(const ops::Context& ctx, MemoryPlan& plan, std::int64_t chunk,
                          const std::vector<model::ParameterInfo>& parameters, MomentUse use, DType moments);

class StateStream {
 public:
  StateStream(const ops::Context& ctx, const Arena& arena, const StreamRegions& regions);

  // train::update() of one parameter. Returns before it is done.
  void update(const TrainedParameter& p, const OptimConfig& config, const UpdateStep& step);
  // p.working = p.master, rounded. Returns before it is done.
  void cast(const TrainedParameter& p);
  // Returns when the host may read and write the state.
  void synchronize() const;

 private:
  struct Place {
    Tensor master, first, second;  // [chunk]
  };
  // Calls work(place, begin, count) for each chunk of `size` elements, when copies into the place may begin
  // as soon as it is free; what work() queues out of it, or makes out_ follow, ends the place's use.
  template <class Work>
  void each_chunk(std::int64_t size, const Work& work);
  bool streams_master(const TrainedParameter& p) const;

  ops::Context ctx_;
  std::vector<Place> places_;
  std::size_t next_ = 0;
  std::int64_t chunk_ = 0;
  ops::CopyQueue in_, out_;  // a mark a place: it is filled; it is free again
};

}  // namespace rlcpp::train
