#include "ops/embedding.h"

#include "ops/checks.h"
#include "ops/cpu/embedding.h"

namespace rlcpp::ops {
namespace {

// A wrong id would read or write foreign memory; one look at each costs nothing beside the copy of its row.
void check_ids(const Tensor& ids, std::int64_t vocabulary) {
  for (const std::int32_t id : ids.i32_span()) RLCPP_CHECK(id >= 0 && id < vocabulary);
}

}  // namespace

void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids) {
  require_cpu(ctx, "embedding_forward");
  RLCPP_CHECK(table.rank() == 2 && table.dtype() == DType::kF32 && ids.rank() == 1 &&
              ids.dtype() == DType::kI32);
  RLCPP_CHECK(is_f32(y, {ids.dim(0), table.dim(1)}));
  check_ids(ids, table.dim(0));
  cpu::embedding_forward(ctx, y, table, ids);
}

void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids) {
  require_cpu(ctx, "embedding_backward");
  RLCPP_CHECK(dtable.rank() == 2 && dtable.dtype() == DType::kF32 && ids.rank() == 1 &&
              ids.dtype() == DType::kI32);
  RLCPP_CHECK(is_f32(dy, {ids.dim(0), dtable.dim(1)}));
  check_ids(ids, dtable.dim(0));
  cpu::embedding_backward(ctx, dtable, dy, ids);
}

}  // namespace rlcpp::ops
