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

void init_random_part(const ModelConfig& config, const ParameterInfo& info, std::int64_t first,
                      const Tensor& part, std::uint64_t seed, ThreadPool* pool) {
  const auto range = static_cast<float>(config.initializer_range);
  if (info.shape.size() == 1) {
    const std::vector<float> values(static_cast<std::size_t>(part.size()),
                                    info.name.ends_with("norm") ? 1.0F : 0.0F);
    from_floats(part, values);
    return;
  }
  const std::int64_t width = info.shape[1];
  for (const HfSlice& slice : info.slices) {
    const std::int64_t origin = slice.row * width, end = origin + slice.shape[0] * width;
    const std::int64_t from = std::max(first, origin), to = std::min(first + part.size(), end);
    if (from >= to) continue;
    const ops::NormalStream stream{seed, hash_of(slice.name)};
    // Up to the next piece of the sequence by way of a whole one, then in place.
    const std::int64_t place = from - origin, lead = place % ops::kNormalPiece;
    std::int64_t done = 0;
    if (lead != 0) {
      done = std::min(ops::kNormalPiece - lead, to - from);
      std::vector<float> piece(static_cast<std::size_t>(ops::kNormalPiece));
      ops::fill_normal(host_view(std::span(piece), DType::kF32), stream, range, place - lead);
      from_floats(part.rows(from - first, done),
                  std::span(piece).subspan(static_cast<std::size_t>(lead), static_cast<std::size_t>(done)));
    }
    if (to - from > done) {
      ops::fill_normal(part.rows(from - first + done, to - from - done), stream, range, place + done, pool);
    }
  }
}

}  // namespace rlcpp::model
