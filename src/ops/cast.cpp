#include "ops/cast.h"

#include <cstddef>
#include <cstring>

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/parallel.h"
#include "ops/cuda/cast.h"

namespace rlcpp::ops {

void cast(const Context& ctx, const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(from.dtype() == DType::kF32 && to.dtype() == ctx.compute_type() && to.size() == from.size());
  if (to.size() == 0) return;
  const LoggedCall logged(ctx, [&] {
    return Call{"cast",
                {to.size()},
                {to, from},
                0,
                bytes_of({to, from}),
                [=](const Context& c, const Call::Operands& t) { cast(c, t[0], t[1]); }};
  });
  if (ctx.on_gpu()) return cuda::cast(ctx, to, from);
  std::memcpy(to.raw(), from.raw(), to.bytes());
}

void zero(const Context& ctx, const Tensor& t) {
  if (t.size() == 0) return;
  const LoggedCall logged(ctx, [&] {
    return Call{"zero", {t.size()},    {t},
                0,      bytes_of({t}), [](const Context& c, const Call::Operands& all) { zero(c, all[0]); }};
  });
  if (ctx.on_gpu()) return cuda::zero(ctx, t);
  auto* const bytes = static_cast<std::byte*>(t.raw());
  const auto count = static_cast<std::int64_t>(t.bytes());
  cpu::parallel_blocks(ctx, count, std::int64_t{1} << 20, static_cast<double>(count) / 16,
                       [&](std::int64_t begin, std::int64_t n) {
                         std::memset(bytes + begin, 0, static_cast<std::size_t>(n));
                       });
}

}  // namespace rlcpp::ops
