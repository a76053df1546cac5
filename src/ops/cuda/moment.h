// An event of the stream of a context, for ops/moment.h.
#pragma once

#include <memory>

#include "ops/moment.h"

namespace rlcpp::ops::cuda {

std::unique_ptr<Event, EventDeleter> make_event(const Context& ctx);
void mark(Event& event);
void wait(const Event& event);

}  // namespace rlcpp::ops::cuda
