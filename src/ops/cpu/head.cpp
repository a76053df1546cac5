#include "ops/cpu/head.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/matmul.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

double exp_work(std::int64_t rows, std::int64_t vocabulary) {
  return 12.0 * static_cast<double>(rows) * static_cast<double>(vocabulary);
}

// The rows of one chunk: those with something to compute, gathered so that the products have no idle rows.
// Rows that lie together already are used in place.
struct Chunk {
  const std::int32_t* index;  // [count] row numbers, ascending
  std::int64_t count;
  std::int64_t width;  // hidden size
  bool contiguous() const { return index[count - 1] - index[0] + 1 == count; }

  Tensor gather(const Tensor& from) const {
    if (contiguous()) return from.rows(index[0], count);
    float* rows = thread_scratch(Scratch::kHeadRows, count * width);
    for (std::int64_t i = 0; i < count; ++i)
      std::copy_n(from.f32() + index[i] * width, width, rows + i * width);
    return Tensor(rows, DType::kF32, {count, width});
  }
};

}  // namespace

void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& packed, const Tensor& temperatures) {
  const Kernels& kernels = kernels_of(ctx);
  linear_forward(ctx, logits, hidden, w, packed, Tensor(), false);
  if (temperatures.empty()) return;
  const std::int64_t vocabulary = w.dim(0);
  parallel(ctx, logits.dim(0), static_cast<double>(logits.size()), [&](std::int64_t r) {
    const float temperature = temperatures.f32()[r];
    if (temperature != 1.0F) kernels.divide(logits.f32() + r * vocabulary, vocabulary, temperature);
  });
}

void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t vocabulary = logits.dim(1);
  parallel(ctx, logits.dim(0), exp_work(logits.dim(0), vocabulary), [&](std::int64_t r) {
    const RowStats stats = kernels.row_statistics(logits.f32() + r * vocabulary, vocabulary);
    lse.f32()[r] = stats.lse;
    if (!entropy.empty()) entropy.f32()[r] = stats.entropy;
  });
}

void head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t rows = in.hidden.dim(0);
  const std::int64_t width = in.hidden.dim(1);
  const std::int64_t vocabulary = in.w.dim(0);
  const bool gradient = !visit.dhidden.empty();
  const std::int32_t* target = in.targets.i32();
  const float* temperature = in.temperatures.f32();
  const float* coefficient = gradient ? visit.coefficients.f32() : nullptr;

  thread_local std::vector<std::int32_t> wanted;
  wanted.clear();
  for (std::int64_t r = 0; r < rows; ++r) {
    const bool skipped = target[r] < 0 || (visit.logprobs.empty() && coefficient[r] == 0.0F);
    if (!skipped) wanted.push_back(static_cast<std::int32_t>(r));
  }
  if (!visit.logprobs.empty()) std::fill_n(visit.logprobs.f32(), rows, 0.0F);
  if (!visit.entropies.empty()) std::fill_n(visit.entropies.f32(), rows, 0.0F);
  if (gradient) std::fill_n(visit.dhidden.f32(), rows * width, 0.0F);

  const std::int64_t chunk_rows = in.logits.dim(0);
  const auto total = static_cast<std::int64_t>(wanted.size());
  for (std::int64_t begin = 0; begin < total; begin += chunk_rows) {
    const Chunk chunk = {wanted.data() + begin, std::min(chunk_rows, total - begin), width};
    const Tensor hidden = chunk.gather(in.hidden);
    const Tensor logits = in.logits.rows(0, chunk.count);
    linear_forward(ctx, logits, hidden, in.w, in.packed, Tensor(), false);
    parallel(ctx, chunk.count, exp_work(chunk.count, vocabulary) * (gradient ? 2 : 1), [&](std::int64_t i) {
      const std::int64_t r = chunk.index[i];
      float* z = logits.f32() + i * vocabulary;
      if (temperature[r] != 1.0F) kernels.divide(z, vocabulary, temperature[r]);
      const RowStats stats = kernels.row_statistics(z, vocabulary);
      if (!visit.logprobs.empty()) visit.logprobs.f32()[r] = z[target[r]] - stats.lse;
      if (!visit.entropies.empty()) visit.entropies.f32()[r] = stats.entropy;
      if (gradient)
        kernels.logit_gradient(z, vocabulary, stats.lse, target[r], coefficient[r] / temperature[r]);
    });
    if (!gradient) continue;
    if (!visit.dw.empty()) linear_backward_weight(ctx, visit.dw, logits, hidden, true);
    if (chunk.contiguous()) {
      linear_backward_input(ctx, visit.dhidden.rows(chunk.index[0], chunk.count), logits, in.w, false);
      continue;
    }
    float* packed_rows = thread_scratch(Scratch::kHeadGradient, chunk.count * width);
    linear_backward_input(ctx, Tensor(packed_rows, DType::kF32, {chunk.count, width}), logits, in.w, false);
    for (std::int64_t i = 0; i < chunk.count; ++i) {
      std::copy_n(packed_rows + i * width, width, visit.dhidden.f32() + chunk.index[i] * width);
    }
  }
}

void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors) {
  const std::int64_t width = rows.dim(1);
  parallel(ctx, rows.dim(0), static_cast<double>(rows.size()), [&](std::int64_t r) {
    const float factor = factors.f32()[r];
    float* row = rows.f32() + r * width;
    if (factor == 0.0F) {
      std::fill_n(row, width, 0.0F);
    } else {
      for (std::int64_t i = 0; i < width; ++i) row[i] *= factor;
    }
  });
}

}  // namespace rlcpp::ops::cpu
