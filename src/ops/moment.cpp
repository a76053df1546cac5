#include "ops/moment.h"

#include "ops/cuda/moment.h"

namespace rlcpp::ops {

Moment::Moment(const Context& ctx) : event_(ctx.on_gpu() ? cuda::make_event(ctx) : nullptr) {}

void Moment::mark() {
  if (event_ != nullptr) cuda::mark(*event_);
}

void Moment::wait() const {
  if (event_ != nullptr) cuda::wait(*event_);
}

}  // namespace rlcpp::ops
