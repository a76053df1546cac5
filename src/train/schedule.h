// Checks of a schedule against the length of the run. The learning rate itself is declared in
// train/trainer.h.
#pragma once

#include "train/trainer.h"

namespace rlcpp::train {

// Throws bad_input if the schedule needs max_steps (-1: not set) and lacks it, if its phases do not fit into
// the run, or if min_lr is above the peak.
void validate_schedule(const SchedulerConfig& config, double peak, std::int64_t max_steps);

}  // namespace rlcpp::train
