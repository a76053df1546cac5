// The function of SwiGLU, for the kernels that compute it.
#pragma once

namespace rlcpp::ops::cuda {

// The fast forms of exp and division are off by some 2^-22, far below a bf16; the exact ones would make a
// memory-bound kernel wait for arithmetic. exp(-a) may overflow to infinity: the quotient is then 0.
__device__ inline float fast_sigmoid(float a) {
  float quotient;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(quotient) : "f"(1.0F + __expf(-a)));
  return quotient;
}

// silu(gate) * up.
__device__ inline float swiglu_of(float gate, float up) {
  return up * (gate * fast_sigmoid(gate));
}

}  // namespace rlcpp::ops::cuda
