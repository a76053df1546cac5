// Values made wrong on purpose, where a fail point asks for it: what a flipped bit, an overflow or a bad
// batch does to them.
#pragma once

#include <string_view>

#include "tensor/tensor.h"

namespace rlcpp::train {

// `action`: of failpoint::hit(): "nan" and "inf" take the place of the first value, "spike" makes all 1e4
// times as large, "flip" turns the highest bit of the first one's exponent; "" does nothing.
void spoil(std::string_view action, const Tensor& values);
double spoiled(std::string_view action, double value);

}  // namespace rlcpp::train
