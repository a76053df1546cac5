#include "train/row_buffers.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "tensor/copy.h"

namespace rlcpp::train {
RowRegions plan_rows(MemoryPlan& plan, std::int64_t max_tokens, RegionId dhidden) {
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
  r.dhidden = dhidden;
  return r;
}

namespace {

constexpr std::size_t kCopied = 0;  // mark of the queue: the newest copies to the device

template <class T>
std::span<T> take(std::byte*& at, std::size_t count) {
  T* const begin = reinterpret_cast<T*>(at);
  at += count * sizeof(T);
  return {begin, count};
}

}  // namespace

RowBuffers::RowBuffers(const ops::Context& ctx, const Arena& arena, const RowRegions& regions,
                       std::int64_t vocab_size)
    : queue_(ctx, 1), vocab_size_(vocab_size) {
  full_.packed.ids = arena[regions.ids];
  full_.packed.positions = arena[regions.positions];
  full_.packed.documents.cu_seqlens = arena[regions.cu_seqlens];
  full_.targets = arena[regions.targets];
  full_.temperatures = arena[regions.temperatures];
  full_.logprobs = arena[regions.logprobs];
  full_.entropies = arena[regions.entropies];
  full_.coefficients = arena[regions.coefficients];
  if (regions.dhidden.index >= 0) full_.dhidden = arena[regions.dhidden];
  max_tokens_ = full_.packed.ids.dim(0);
  const auto tokens = static_cast<std::size_t>(max_tokens_);
  if (!ctx.on_gpu()) {
    host_ = {{full_.packed.ids.as<std::int32_t>(), tokens},
             {full_.packed.positions.as<std::int32_t>(), tokens},
             {full_.packed.documents.cu_seqlens.as<std::int32_t>(), tokens + 1},
             {full_.targets.as<std::int32_t>(), tokens},
             {full_.temperatures.as<float>(), tokens},
             {full_.coefficients.as<float>(), tokens},
             {full_.logprobs.as<float>(), tokens},
             {full_.entropies.as<float>(), tokens}};
    return;
  }
  pinned_.reset(cuda::staging::allocate_pinned((8 * tokens + 1) * sizeof(std::int32_t), ctx.device));
  auto* at = static_cast<std::byte*>(pinned_.get());
  host_.ids = take<std::int32_t>(at, tokens);
  host_.positions = take<std::int32_t>(at, tokens);
  host_.targets = take<std::int32_t>(at, tokens);
  host_.temperatures = take<float>(at, tokens);
  host_.coefficients = take<float>(at, tokens);
  host_.logprobs = take<float>(at, tokens);
  host_.entropies = take<float>(at, tokens);
  host_.cu_seqlens = take<std::int32_t>(at, tokens + 1);
}

template <class T>
void RowBuffers::send(const Tensor& to, std::span<T> from) {
  if (pinned_ != nullptr)
    queue_.copy(to, host_view(from.first(static_cast<std::size_t>(to.size())), to.dtype()));
}

template <class T>
void RowBuffers::bring(std::span<T> to, const Tensor& from) {
  if (pinned_ != nullptr)
    queue_.copy(host_view(to.first(static_cast<std::size_t>(from.size())), from.dtype()), from);
}

// Later operations find what was sent.
void RowBuffers::hold() {
  queue_.mark(kCopied);
  queue_.hold_operations(kCopied);
}

Row RowBuffers::load(const data::MicroBatch& batch, Targets which) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t documents = batch.documents();
  RLCPP_CHECK(tokens > 0 && tokens <= max_tokens_ && documents > 0);
  RLCPP_CHECK(batch.cu_seqlens.front() == 0 && batch.cu_seqlens.back() == tokens);
  RLCPP_CHECK(batch.positions.size() == batch.ids.size() && batch.mask.size() == batch.ids.size());
  RLCPP_CHECK(batch.ce_weights.empty() || batch.ce_weights.size() == batch.ids.size());
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
  if (!full_.dhidden.empty()) row.dhidden = full_.dhidden.rows(0, tokens);

  // Copies of the row before are done with the host's memory; the operations that read the device's go first.
  queue_.synchronize();
  queue_.follow_operations();
  std::ranges::copy(batch.ids, host_.ids.begin());
  std::ranges::copy(batch.positions, host_.positions.begin());
  std::ranges::copy(batch.cu_seqlens, host_.cu_seqlens.begin());
  const auto targets = host_.targets.first(size_of(row));
  const auto temperatures = host_.temperatures.first(size_of(row));
  std::ranges::fill(targets, -1);
  std::ranges::fill(temperatures, 1.0F);
  for (std::size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
    const auto begin = static_cast<std::size_t>(batch.cu_seqlens[d]);
    const auto end = static_cast<std::size_t>(batch.cu_seqlens[d + 1]);
    RLCPP_CHECK(begin < end);
    row.packed.documents.longest =
        std::max(row.packed.documents.longest, static_cast<std::int64_t>(end - begin));
    for (std::size_t t = begin; t + 1 < end; ++t) {
      const bool trained =
          batch.mask[t + 1] != 0 || (!batch.ce_weights.empty() && batch.ce_weights[t + 1] > 0);
      if (which == Targets::kAll || trained) targets[t] = batch.ids[t + 1];
      if (!batch.temperatures.empty()) temperatures[t] = batch.temperatures[t + 1];
    }
  }
  row.host_targets = targets;
  send(row.packed.ids, host_.ids);
  send(row.packed.positions, host_.positions);
  send(row.packed.documents.cu_seqlens, host_.cu_seqlens);
  send(row.targets, host_.targets);
  send(row.temperatures, host_.temperatures);
  hold();
  return row;
}

void RowBuffers::send_coefficients(const Row& row) {
  queue_.follow_operations();
  send(row.coefficients, host_.coefficients);
  hold();
}

void RowBuffers::fetch(const Row& row) {
  queue_.follow_operations();
  bring(host_.logprobs, row.logprobs);
  bring(host_.entropies, row.entropies);
}

std::span<const float> RowBuffers::logprobs(const Row& row) {
  queue_.synchronize();
  return host_.logprobs.first(size_of(row));
}

std::span<const float> RowBuffers::entropies(const Row& row) {
  queue_.synchronize();
  return host_.entropies.first(size_of(row));
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
