// Float64 reference of ops/optimizer.h for tests.
#pragma once

#include "ops/optimizer.h"
#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

// One AdamW update of w, m and v in place.
void adamw(Doubles& w, Doubles& m, Doubles& v, const Doubles& g, const AdamWStep& step);

}  // namespace rlcpp::ops::reference
