// Random factors of a product at the scale of a model: x normal(0, 1), w normal(0, 1/sqrt(k)).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "common.h"

namespace gpu_facts {

struct MatmulData {
  // `rows` rows of x, and so many copies of w that a cycle through them does not fit in the L2 cache: weights
  // of a model are read once a step from device memory.
  MatmulData(std::int64_t rows, std::int64_t n, std::int64_t k, cudaStream_t stream)
      : x(static_cast<std::size_t>(rows * k) * 2) {
    const std::size_t bytes = static_cast<std::size_t>(n * k) * 2;
    const std::size_t copies = std::clamp<std::size_t>((std::size_t{160} << 20) / bytes, 1, 40);
    fill_bf16(x.data(), static_cast<std::size_t>(rows * k), 1.0f, 1, stream);
    for (std::size_t i = 0; i < copies; ++i) {
      w.push_back(std::make_unique<DeviceBuffer>(bytes));
      fill_bf16(w.back()->data(), bytes / 2, 1.0f / std::sqrt(static_cast<float>(k)), 2, stream);
    }
  }
  const void* row(std::int64_t index, std::int64_t k) const { return x.as<char>() + index * k * 2; }
  const void* weight(int call) const { return w[static_cast<std::size_t>(call) % w.size()]->data(); }
  // Calls to put into one timed graph: all copies for a quick product, few for a long one.
  int calls(std::int64_t m) const {
    return m <= 1024 ? std::max<int>(4, static_cast<int>(w.size())) : m <= 4096 ? 4 : 2;
  }

  DeviceBuffer x;
  std::vector<std::unique_ptr<DeviceBuffer>> w;
};

}  // namespace gpu_facts
