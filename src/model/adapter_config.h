// Which adapters a run has, as data.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace rlcpp::model {

// The linear layers that can have one, in the order of kAdapterTargets.
inline constexpr std::array<const char*, 7> kAdapterTargets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                               "gate_proj", "up_proj", "down_proj"};

// y = W x + alpha / rank * B A dropout(x) for each target, with A [rank, in] and B [out, rank].
struct AdapterConfig {
  std::int64_t rank = 0;  // 0: no adapters
  double alpha = 32;
  double dropout = 0;
  std::array<bool, kAdapterTargets.size()> targets = {};
  std::string base;  // the model they belong to, as adapter_config.json and checkpoints name it

  bool any() const { return rank > 0; }
  float scale() const { return static_cast<float>(alpha / static_cast<double>(rank)); }
};

}  // namespace rlcpp::model
