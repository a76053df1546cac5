#include "train/rank_share.h"

#include <algorithm>

#include "base/error.h"

namespace rlcpp::train {
namespace {

// The first tokens of a batch with an empty mask: no gradient, no metric.
data::MicroBatch idle_like(const data::MicroBatch& like) {
  constexpr std::size_t kTokens = 8;
  const std::size_t count = std::min(kTokens, static_cast<std::size_t>(like.cu_seqlens.at(1)));
  data::Sample sample;
  sample.ids.assign(like.ids.begin(), like.ids.begin() + static_cast<std::ptrdiff_t>(count));
  sample.mask.assign(count, 0);
  if (like.rl) {
    sample.inference_logprobs.assign(count, 0.0F);
    sample.advantages.assign(count, 0.0F);
  }
  if (!like.teacher_logprobs.empty()) sample.teacher_logprobs.assign(count, 0.0F);
  data::MicroBatch out;
  out.append(sample);
  return out;
}

}  // namespace

RankShare share_of(const std::vector<data::MicroBatch>& batches, const Sharding& sharding) {
  RankShare share;
  if (!sharding.any() || batches.empty()) {
    for (const data::MicroBatch& batch : batches) share.batches.push_back(&batch);
    return share;
  }
  const auto ranks = static_cast<std::size_t>(sharding.ranks);
  const std::size_t each = (batches.size() + ranks - 1) / ranks;
  share.first = each * static_cast<std::size_t>(sharding.rank);
  if (each * ranks > batches.size())
    share.idle = std::make_unique<const data::MicroBatch>(idle_like(batches.front()));
  for (std::size_t i = share.first; i < share.first + each; ++i) {
    share.batches.push_back(i < batches.size() ? &batches[i] : share.idle.get());
  }
  return share;
}

}  // namespace rlcpp::train
