// Types and zeros on the device.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// to = from rounded to nearest even: f32 to the compute type. On the CPU, where both are f32, a copy.
void cast(const Context& ctx, const Tensor& to, const Tensor& from);

// Every byte 0.
void zero(const Context& ctx, const Tensor& t);

}  // namespace rlcpp::ops
