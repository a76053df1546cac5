#include "bench/flops.h"

#include <array>
#include <utility>

namespace rlcpp::bench {

double reference_flops_per_token(const ModelShape& shape, std::int64_t seq_len) {
  const auto p = static_cast<double>(shape.matmul_parameters);
  const double attention = 12.0 * static_cast<double>(shape.layers) * static_cast<double>(shape.heads) *
                           static_cast<double>(shape.hidden / shape.heads) * static_cast<double>(seq_len);
  if (shape.adapter_parameters > 0)
    return 4 * p + 6 * static_cast<double>(shape.adapter_parameters) + attention;
  return 6 * p + attention;
}

double true_flops_of_row(const ModelShape& shape, std::span<const std::int64_t> document_lengths) {
  double tokens = 0;
  double pairs = 0;
  for (const std::int64_t length : document_lengths) {
    const auto n = static_cast<double>(length);
    tokens += n;
    pairs += n * (n + 1) / 2;
  }
  const auto p = static_cast<double>(shape.matmul_parameters);
  const double products =
      shape.adapter_parameters > 0 ? 4 * p + 6 * static_cast<double>(shape.adapter_parameters) : 6 * p;
  const double attention = 12.0 * static_cast<double>(shape.layers) * static_cast<double>(shape.heads) *
                           static_cast<double>(shape.head_dim) * pairs;
  return products * tokens + attention;
}

double gpu_peak_flops(const std::string& name, bool* known) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  *known = true;
  if (has("A100")) return 312e12;
  if (has("H100") || has("H200")) {
    if (has("NVL")) return 835e12;
    if (has("PCIe")) return 756e12;
    return 989e12;
  }
  if (has("GB200") || has("GB300")) return 2.5e15;
  if (has("B200") || has("B300")) return 2.25e15;
  *known = false;
  return 312e12;
}

}  // namespace rlcpp::bench
