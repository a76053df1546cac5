// Random initial weights. Element i of an HF tensor is a pure function of (seed, the tensor's name, i):
// ops/random.h.
#include <algorithm>
#include <string_view>

#include "base/rng.h"
#include "model/weights.h"
#include "ops/random.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

// FNV-1a, spread by mix64.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(hash);
}

}  // namespace

void init_random(const ModelConfig& config, const WeightSet& weights, std::uint64_t seed, ThreadPool* pool) {
  const std::vector<ParameterInfo> list = parameter_list(config);
  RLCPP_CHECK(list.size() == weights.flat.size());
  const auto range = static_cast<float>(config.initializer_range);
  for (std::size_t p = 0; p < list.size(); ++p) {
    const Tensor& parameter = weights.flat[p];
    if (list[p].shape.size() == 1) {
      // Vectors are norms, which start at one, and biases, which start at zero.
      const bool norm = list[p].name.ends_with("norm");
      HostFloats host(parameter, false);
      std::fill(host.values().begin(), host.values().end(), norm ? 1.0F : 0.0F);
      host.store();
    }
    for (const HfSlice& slice : list[p].slices) {
      if (slice.shape.size() == 1) continue;
      ops::fill_normal(parameter.rows(slice.row, slice.shape[0]), {seed, hash_of(slice.name)}, range, 0,
                       pool);
    }
  }
}

}  // namespace rlcpp::model
