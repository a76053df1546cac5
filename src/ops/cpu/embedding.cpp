#include "ops/cpu/embedding.h"

#include <algorithm>

#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {

void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids) {
  const std::int64_t h = table.dim(1);
  const std::int32_t* id = ids.i32();
  parallel_blocks(ctx, ids.dim(0), 64, static_cast<double>(y.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    for (std::int64_t i = r; i < r + count; ++i)
                      std::copy_n(table.f32() + id[i] * h, h, y.f32() + i * h);
                  });
}

// A task owns a slice of columns and walks all rows, so rows of one id are added in order.
void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t h = dtable.dim(1);
  const std::int32_t* id = ids.i32();
  parallel_blocks(ctx, h, 64, 2.0 * static_cast<double>(dy.size()),
                  [&](std::int64_t begin, std::int64_t count) {
                    for (std::int64_t i = 0; i < ids.dim(0); ++i) {
                      kernels.add_to(dtable.f32() + id[i] * h + begin, dy.f32() + i * h + begin, count);
                    }
                  });
}

}  // namespace rlcpp::ops::cpu
