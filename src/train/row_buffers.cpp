#include "train/row_buffers.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "tensor/copy.h"

namespace rlcpp::train {
namespace {

bool on_host(const Tensor& tensor) {
  return tensor.device().kind == DeviceKind::kCpu;
}

template <class T>
void send(const Tensor& to, std::span<const T> values, DType type) {
  if (!on_host(to)) copy(to, host_view(values, type));
}

std::span<const float> fetch(const Tensor& from, std::span<float> values) {
  if (!on_host(from)) copy(host_view(values, DType::kF32), from);
  return values;
}

}  // namespace

template <class T>
std::span<T> RowBuffers::host(const Tensor& tensor, std::vector<T>& copy) {
  const auto size = static_cast<std::size_t>(tensor.size());
  if (on_host(tensor)) return {tensor.as<T>(), size};
  if (copy.size() < size) copy.resize(size);
  return std::span(copy).first(size);
}

RowRegions plan_rows(MemoryPlan& plan, std::int64_t max_tokens, std::int64_t hidden_size, DType type) {
  const auto use = MemoryUse::kWorkspace;
  RowRegions r;
  r.ids = plan.add(use, "batch.ids", DType::kI32, {max_tokens});
  r.positions = plan.add(use, "batch.positions", DType::kI32, {max_tokens});
  r.cu_seqlens = plan.add(use, "batch.cu_seqlens", DType::kI32, {max_tokens + 1});
  r.targets = plan.add(use, "batch.targets", DType::kI32, {max_tokens});
  r.temperatures = plan.add(use, "batch.temperatures", DType::kF32, {max_tokens});
  r.logprobs = plan.add(use, "batch.logprobs", DType::kF32, {max_tokens});
  r.entropies = plan.add(use, "batch.entropies", DType::kF32, {max_tokens});
  r.coefficients = plan.add(use, "batch.coefficients", DType::kF32, {max_tokens});
  r.dhidden = plan.add(MemoryUse::kActivations, "head.dhidden", type, {max_tokens, hidden_size});
  return r;
}

RowBuffers::RowBuffers(const Arena& arena, const RowRegions& regions, std::int64_t vocab_size)
    : vocab_size_(vocab_size) {
  full_.packed.ids = arena[regions.ids];
  full_.packed.positions = arena[regions.positions];
  full_.packed.documents.cu_seqlens = arena[regions.cu_seqlens];
  full_.targets = arena[regions.targets];
  full_.temperatures = arena[regions.temperatures];
  full_.logprobs = arena[regions.logprobs];
  full_.entropies = arena[regions.entropies];
  full_.coefficients = arena[regions.coefficients];
  full_.dhidden = arena[regions.dhidden];
  max_tokens_ = full_.packed.ids.dim(0);
}

Row RowBuffers::load(const data::MicroBatch& batch, Targets which) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t documents = batch.documents();
  RLCPP_CHECK(tokens > 0 && tokens <= max_tokens_ && documents > 0);
  RLCPP_CHECK(batch.cu_seqlens.front() == 0 && batch.cu_seqlens.back() == tokens);
  RLCPP_CHECK(batch.positions.size() == batch.ids.size() && batch.mask.size() == batch.ids.size());
  RLCPP_CHECK(batch.temperatures.empty() || batch.temperatures.size() == batch.ids.size());
  for (const std::int32_t id : batch.ids) {
    if (id < 0 || id >= vocab_size_) {
      throw bad_input(fmt::format("token id {} is outside the model's vocabulary of {}", id, vocab_size_),
                      "the tokenizer has more tokens than the model's embedding has rows",
                      "use the tokenizer that belongs to the model");
    }
  }
  Row row;
  row.packed.ids = full_.packed.ids.rows(0, tokens);
  row.packed.positions = full_.packed.positions.rows(0, tokens);
  row.packed.documents.cu_seqlens = full_.packed.documents.cu_seqlens.rows(0, documents + 1);
  row.targets = full_.targets.rows(0, tokens);
  row.temperatures = full_.temperatures.rows(0, tokens);
  row.logprobs = full_.logprobs.rows(0, tokens);
  row.entropies = full_.entropies.rows(0, tokens);
  row.coefficients = full_.coefficients.rows(0, tokens);
  row.dhidden = full_.dhidden.rows(0, tokens);

  copy(row.packed.ids, host_view(std::span(batch.ids), DType::kI32));
  copy(row.packed.positions, host_view(std::span(batch.positions), DType::kI32));
  copy(row.packed.documents.cu_seqlens, host_view(std::span(batch.cu_seqlens), DType::kI32));
  const auto targets = host(row.targets, targets_);
  const auto temperatures = host(row.temperatures, temperatures_);
  std::fill(targets.begin(), targets.end(), -1);
  std::fill(temperatures.begin(), temperatures.end(), 1.0F);
  for (std::size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
    const auto begin = static_cast<std::size_t>(batch.cu_seqlens[d]);
    const auto end = static_cast<std::size_t>(batch.cu_seqlens[d + 1]);
    RLCPP_CHECK(begin < end);
    row.packed.documents.longest =
        std::max(row.packed.documents.longest, static_cast<std::int64_t>(end - begin));
    for (std::size_t t = begin; t + 1 < end; ++t) {
      if (which == Targets::kAll || batch.mask[t + 1] != 0) targets[t] = batch.ids[t + 1];
      if (!batch.temperatures.empty()) temperatures[t] = batch.temperatures[t + 1];
    }
  }
  row.host_targets = targets;
  send<std::int32_t>(row.targets, targets, DType::kI32);
  send<float>(row.temperatures, temperatures, DType::kF32);
  return row;
}

std::span<float> RowBuffers::coefficients(const Row& row) {
  return host(row.coefficients, coefficients_);
}

void RowBuffers::send_coefficients(const Row& row) {
  send<float>(row.coefficients, host(row.coefficients, coefficients_), DType::kF32);
}

std::span<const float> RowBuffers::logprobs(const Row& row) {
  return fetch(row.logprobs, host(row.logprobs, logprobs_));
}

std::span<const float> RowBuffers::entropies(const Row& row) {
  return fetch(row.entropies, host(row.entropies, entropies_));
}

void rows_to_tokens(const data::MicroBatch& batch, std::span<const float> rows, std::span<float> out) {
  for (std::size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
    const auto begin = static_cast<std::size_t>(batch.cu_seqlens[d]);
    const auto end = static_cast<std::size_t>(batch.cu_seqlens[d + 1]);
    out[begin] = 0.0F;
    for (std::size_t t = begin + 1; t < end; ++t) out[t] = rows[t - 1];
  }
}

void tokens_to_rows(const data::MicroBatch& batch, std::span<const float> tokens, std::span<float> rows) {
  for (std::size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
    const auto begin = static_cast<std::size_t>(batch.cu_seqlens[d]);
    const auto end = static_cast<std::size_t>(batch.cu_seqlens[d + 1]);
    for (std::size_t t = begin; t + 1 < end; ++t) rows[t] = tokens[t + 1];
    rows[end - 1] = 0.0F;
  }
}

}  // namespace rlcpp::train
