// What forward and backward of attention share on the CPU.
#pragma once

#include <vector>

#include "ops/attention.h"

namespace rlcpp::ops::cpu {

inline double causal_work(std::int64_t length, const QkvShape& shape) {
  return static_cast<double>(length) * static_cast<double>(length) *
         static_cast<double>(shape.num_heads * shape.head_dim);
}

// An empty list that keeps its memory from call to call: one a thread and type.
template <class T>
std::vector<T>& reused() {
  thread_local std::vector<T> list;
  list.clear();
  return list;
}

}  // namespace rlcpp::ops::cpu
