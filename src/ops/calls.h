// The calls of operations that a step makes, written down with what each computes and moves, so that a
// benchmark can make each of them again by itself (bench/kernels.h). An operation that calls others is one
// call.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/context.h"

namespace rlcpp::ops {

struct Call {
  using Operands = std::vector<Tensor>;

  std::string name;                 // of the function, with "(+=)" where it adds to what is there
  std::vector<std::int64_t> shape;  // M, N, K of a product; rows and widths elsewhere
  Operands operands;                // every tensor that it is given; empty ones are kept
  // Multiplications and additions of products and of attention's causal pairs, as bench/flops.h counts them:
  // what is asked for, not what a kernel computes twice. 0 for the rest.
  double flops = 0;
  double bytes = 0;  // of what must be read and written, each once
  // The same call on other memory: operands of the same types and shapes, in the same order.
  std::function<void(const Context&, const Operands&)> again;
};

// Of one thread; a context points to it (Context::calls), and its copies too.
struct CallLog {
  std::vector<Call> calls;
  bool on = false;
  int depth = 0;  // of operations inside each other
};

// At the entry of an operation, behind its checks; `describe` makes the Call and is only called when it is
// wanted.
class LoggedCall {
 public:
  template <class Describe>
  LoggedCall(const Context& ctx, Describe&& describe)
      : log_(ctx.calls != nullptr && ctx.calls->on ? ctx.calls : nullptr) {
    if (log_ != nullptr && log_->depth++ == 0) log_->calls.push_back(describe());
  }
  ~LoggedCall() {
    if (log_ != nullptr) --log_->depth;
  }
  LoggedCall(const LoggedCall&) = delete;
  LoggedCall& operator=(const LoggedCall&) = delete;

 private:
  CallLog* log_;
};

// For descriptions: a tensor that is read and written stands there twice.
inline double bytes_of(std::initializer_list<Tensor> tensors) {
  double sum = 0;
  for (const Tensor& t : tensors) sum += t.empty() ? 0.0 : static_cast<double>(t.bytes());
  return sum;
}
inline double product_flops(std::int64_t m, std::int64_t n, std::int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace rlcpp::ops
