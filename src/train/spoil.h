// Values made wrong on purpose, where a fail point asks for it: what a flipped bit, an overflow or a bad
// batch does to them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/tensor.h"

namespace rlcpp::train {

// `action`: of failpoint::hit(): "nan" and "inf" take the place of the first value, "spike" makes all 1e4
// times as large, "flip" turns the highest bit of the first one's exponent; "" does nothing.
void spoil(std::string_view action, const Tensor& values);
double spoiled(std::string_view action, double value);

// At the point of this name, what the first trained token of a row has: row t of `values` where targets[t] is
// the first that is not -1. A number that nothing is made of tests nothing.
void spoil_trained(const char* point, const Tensor& values, std::span<const std::int32_t> targets);

}  // namespace rlcpp::train
