#include "ops/random.h"

#include "base/error.h"
#include "ops/cpu/random.h"
#include "ops/cuda/random.h"

namespace rlcpp::ops {

void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first,
                 ThreadPool* pool) {
  RLCPP_CHECK(t.dtype() == DType::kF32 || t.dtype() == DType::kBF16);
  RLCPP_CHECK(first >= 0 && first % kNormalPiece == 0);
  if (t.size() == 0) return;
  if (t.device().kind == DeviceKind::kCuda) return cuda::fill_normal(t, stream, range, first);
  cpu::fill_normal(t, stream, range, first, pool);
}

}  // namespace rlcpp::ops
