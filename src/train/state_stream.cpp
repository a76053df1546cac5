#include "train/state_stream.h"

#include <algorithm>

#include "base/error.h"
#include "ops/cast.h"
#include "train/trainer.h"

namespace rlcpp::train {
namespace {

// One that comes in, one that is worked on, one that goes out.
constexpr std::int64_t kPlaces = 3;
// Chunks begin where vectors of an operation, and four draws of its rounding, begin.
constexpr std::int64_t kChunkGranule = 64;

Tensor part(const Tensor& t, std::int64_t begin, std::int64_t count) {
  return t.view({t.size()}).rows(begin, count);
}

}  // namespace

StreamRegions plan_stream(const ops::Context& ctx, MemoryPlan& plan, std::int64_t chunk,
                          const std::vector<model::ParameterInfo>& parameters, MomentUse use, DType moments) {
  std::int64_t largest = 0;
  for (const model::ParameterInfo& parameter : parameters) {
    std::int64_t size = 1;
    for (const std::int64_t extent : parameter.shape) size *= extent;
    largest = std::max(largest, size);
  }
  RLCPP_CHECK(chunk > 0 && largest > 0);
  const std::int64_t size = (std::min(chunk, largest) + kChunkGranule - 1) / kChunkGranule * kChunkGranule;
  const auto add = [&](const char* name, DType type) {
    return plan.add(MemoryUse::kOptimizer, name, type, {kPlaces, size});
  };
  StreamRegions regions;
  if (ctx.compute_type() != DType::kF32) regions.master = add("masters in flight", DType::kF32);
  if (use.first) regions.first = add("first moments in flight", moments);
  if (use.second) regions.second = add("second moments in flight", moments);
  regions.chunk = size;
  return regions;
}

StateStream::StateStream(const ops::Context& ctx, const Arena& arena, const StreamRegions& regions)
    : ctx_(ctx), in_(ctx, kPlaces), out_(ctx, kPlaces) {
  const auto place_of = [&](RegionId id, std::int64_t place) {
    if (id.index < 0) return Tensor();
    const Tensor row = arena[id].rows(place, 1);
    return row.view({row.size()});
  };
  for (std::int64_t place = 0; place < kPlaces; ++place) {
    places_.push_back(
        {place_of(regions.master, place), place_of(regions.first, place), place_of(regions.second, place)});
  }
  chunk_ = regions.chunk;
}

// On the CPU the decoder reads the master itself, which stays where it is.
bool StateStream::streams_master(const TrainedParameter& p) const {
  return !p.working.empty() && !(p.master.device() == ctx_.device);
}

template <class Work>
void StateStream::each_chunk(std::int64_t size, const Work& work) {
  for (std::int64_t begin = 0; begin < size; begin += chunk_) {
    const std::size_t place = next_++ % places_.size();
    in_.follow(out_, place);
    work(place, begin, std::min(chunk_, size - begin));
    out_.mark(place);
  }
}

void StateStream::update(const TrainedParameter& p, const OptimConfig& config, const UpdateStep& step) {
  const bool with_master = streams_master(p);
  each_chunk(p.master.size(), [&](std::size_t index, std::int64_t begin, std::int64_t count) {
    const Place& place = places_[index];
    const auto in_flight = [&](const Tensor& chunk, const Tensor& whole) {
      return whole.empty() ? Tensor() : chunk.rows(0, count);
    };
    const Tensor first = in_flight(place.first, p.first), second = in_flight(place.second, p.second);
    const Tensor resting = part(p.master, begin, count);
    const Tensor master = with_master ? place.master.rows(0, count) : resting;
    if (!first.empty()) in_.copy(first, part(p.first, begin, count));
    if (!second.empty()) in_.copy(second, part(p.second, begin, count));
    if (with_master) in_.copy(master, resting);
    in_.mark(index);
    in_.hold_operations(index);
    const Tensor working = p.working.empty() ? Tensor() : part(p.working, begin, count);
    train::update(ctx_, config, step,
                  {master, working, part(p.gradient, begin, count), first, second, p.decay, p.index,
                   p.first_element + begin});
    out_.follow_operations();
    if (!first.empty()) out_.copy(part(p.first, begin, count), first);
    if (!second.empty()) out_.copy(part(p.second, begin, count), second);
    if (with_master) out_.copy(resting, master);
  });
}

void StateStream::cast(const TrainedParameter& p) {
  if (!streams_master(p)) {
    if (!p.working.empty()) ops::cast(ctx_, p.working, p.master);
    return;
  }
  each_chunk(p.master.size(), [&](std::size_t index, std::int64_t begin, std::int64_t count) {
    const Tensor master = places_[index].master.rows(0, count);
    in_.copy(master, part(p.master, begin, count));
    in_.mark(index);
    in_.hold_operations(index);
    ops::cast(ctx_, part(p.working, begin, count), master);
    out_.follow_operations();
  });
}

void StateStream::synchronize() const {
  in_.synchronize();
  out_.synchronize();
}

}  // namespace rlcpp::train
