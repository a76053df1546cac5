// Two events of the stream of a context, for ops/stopwatch.h.
#pragma once

#include <memory>

#include "ops/stopwatch.h"

namespace rlcpp::ops::cuda {

std::unique_ptr<EventPair, EventPairDeleter> make_event_pair(const Context& ctx);
void start(EventPair& pair);
double stop(EventPair& pair);  // waits; seconds

}  // namespace rlcpp::ops::cuda
