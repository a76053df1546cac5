// Float64 reference of ops/optimizer.h for tests.
#pragma once

#include "ops/optimizer.h"
#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

// One AdamW update of w, m and v in place.
void adamw(Doubles& w, Doubles& m, Doubles& v, const Doubles& g, const AdamWStep& step);
// `m` is empty without momentum.
void sgd(Doubles& w, Doubles& m, const Doubles& g, const SgdStep& step);
void sign_sgd(Doubles& w, const Doubles& g, const SignStep& step);

}  // namespace rlcpp::ops::reference
