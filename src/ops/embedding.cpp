#include "ops/embedding.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/embedding.h"
#include "ops/cuda/embedding.h"

namespace rlcpp::ops {
namespace {

// A wrong id would read or write foreign memory; one look at each costs nothing beside the copy of its row.
void check_ids(const Context& ctx, const Tensor& ids, std::int64_t vocabulary) {
  if (ctx.on_gpu()) return;
  for (const std::int32_t id : ids.i32_span()) RLCPP_CHECK(id >= 0 && id < vocabulary);
}

}  // namespace

void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids) {
  RLCPP_CHECK(table.rank() == 2 && table.dtype() == ctx.compute_type() && ids.rank() == 1 &&
              ids.dtype() == DType::kI32);
  RLCPP_CHECK(is_compute(ctx, y, {ids.dim(0), table.dim(1)}));
  check_ids(ctx, ids, table.dim(0));
  const LoggedCall logged(ctx, [&] {
    return Call{"embedding_forward",
                {y.dim(0), y.dim(1)},
                {y, table, ids},
                0,
                bytes_of({y, y, ids}),
                [=](const Context& c, const Call::Operands& t) { embedding_forward(c, t[0], t[1], t[2]); }};
  });
  if (ctx.on_gpu()) return cuda::embedding_forward(ctx, y, table, ids);
  cpu::embedding_forward(ctx, y, table, ids);
}

void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids) {
  RLCPP_CHECK(dtable.rank() == 2 && dtable.dtype() == DType::kF32 && ids.rank() == 1 &&
              ids.dtype() == DType::kI32);
  RLCPP_CHECK(is_compute(ctx, dy, {ids.dim(0), dtable.dim(1)}));
  check_ids(ctx, ids, dtable.dim(0));
  const LoggedCall logged(ctx, [&] {
    return Call{"embedding_backward",
                {dy.dim(0), dy.dim(1)},
                {dtable, dy, ids},
                0,
                bytes_of({dy, ids}),
                [=](const Context& c, const Call::Operands& t) { embedding_backward(c, t[0], t[1], t[2]); }};
  });
  if (ctx.on_gpu()) return cuda::embedding_backward(ctx, dtable, dy, ids);
  cpu::embedding_backward(ctx, dtable, dy, ids);
}

}  // namespace rlcpp::ops
