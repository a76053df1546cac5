#include "ops/reference/embedding.h"

namespace rlcpp::ops::reference {

Doubles embedding_forward(const Doubles& table, const std::vector<std::int32_t>& ids, std::int64_t h) {
  Doubles y;
  for (const std::int32_t id : ids) y.insert(y.end(), table.begin() + id * h, table.begin() + (id + 1) * h);
  return y;
}

Doubles embedding_backward(const Doubles& dy, const std::vector<std::int32_t>& ids, std::int64_t vocabulary,
                           std::int64_t h) {
  Doubles d(vocabulary * h);
  for (std::size_t r = 0; r < ids.size(); ++r) {
    for (std::int64_t i = 0; i < h; ++i) d[ids[r] * h + i] += dy[static_cast<std::int64_t>(r) * h + i];
  }
  return d;
}

}  // namespace rlcpp::ops::reference
