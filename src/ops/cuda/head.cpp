#include "ops/cuda/head.h"

#include <algorithm>

#include "ops/cuda/head_cuda.h"
#include "ops/cuda/head_hopper.h"
#include "ops/cuda/matmul_cuda.h"

namespace rlcpp::ops::cuda {

// The weight has no packed form here: cuBLASLt reads it as it lies.
void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& /*packed*/, const Tensor& temperatures) {
  product_logits(ctx, logits, hidden, w);
  if (temperatures.empty()) return;
  divide_rows(stream_of(ctx), static_cast<float*>(logits.raw()),
              static_cast<const float*>(temperatures.raw()), logits.dim(0), logits.dim(1));
}

void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits) {
  row_statistics(stream_of(ctx), static_cast<float*>(lse.raw()), static_cast<float*>(entropy.raw()),
                 static_cast<const float*>(logits.raw()), logits.dim(0), logits.dim(1));
}

// Rows without a target go through the products with the others: to leave them out the host would have to
// read the targets, and wait for the device.
void head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in) {
  if (in.hidden.dim(0) > 0 && hopper_head_takes(in)) return hopper_head_visit(ctx, visit, in);
  const std::int64_t rows = in.hidden.dim(0);
  const std::int64_t vocabulary = in.w.dim(0);
  const bool gradient = !visit.dhidden.empty();
  const auto at = [](const Tensor& t, std::int64_t row) {
    return t.empty() ? nullptr : static_cast<float*>(t.raw()) + row;
  };
  for (std::int64_t begin = 0; begin < rows; begin += in.logits.dim(0)) {
    const std::int64_t count = std::min(in.logits.dim(0), rows - begin);
    const Tensor logits = in.logits.rows(0, count);
    const Tensor hidden = in.hidden.rows(begin, count);
    product_logits(ctx, logits, hidden, in.w);

    HeadRowArgs args;
    args.logits = static_cast<float*>(logits.raw());
    args.rows = count;
    args.vocabulary = vocabulary;
    args.targets = static_cast<const std::int32_t*>(in.targets.raw()) + begin;
    args.temperatures = at(in.temperatures, begin);
    args.coefficients = gradient ? at(visit.coefficients, begin) : nullptr;
    args.logprobs = at(visit.logprobs, begin);
    args.entropies = at(visit.entropies, begin);
    head_rows(stream_of(ctx), args);
    if (!gradient) continue;

    const Tensor dz(logits.raw(), DType::kBF16, {count, vocabulary}, logits.device());
    const std::int64_t stride = 2 * vocabulary;
    if (!visit.dw.empty()) product_into(ctx, visit.dw, dz, true, hidden, false, true, stride);
    product_into(ctx, visit.dhidden.rows(begin, count), dz, false, in.w, false, false, stride);
  }
}

}  // namespace rlcpp::ops::cuda
