#include "ops/stopwatch.h"

#include "ops/cuda/stopwatch.h"

namespace rlcpp::ops {

Stopwatch::Stopwatch(const Context& ctx) : events_(ctx.on_gpu() ? cuda::make_event_pair(ctx) : nullptr) {}

void Stopwatch::start() {
  if (events_ != nullptr) return cuda::start(*events_);
  begin_ = std::chrono::steady_clock::now();
}

double Stopwatch::stop() {
  if (events_ != nullptr) return cuda::stop(*events_);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

}  // namespace rlcpp::ops
