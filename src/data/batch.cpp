#include "data/batch.h"

#include "base/error.h"

namespace rlcpp::data {

std::int64_t MicroBatch::loss_tokens() const {
  std::int64_t count = 0;
  for (const std::uint8_t flag : mask) count += flag != 0 ? 1 : 0;
  return count;
}

std::int64_t MicroBatch::ce_tokens() const {
  std::int64_t count = 0;
  for (const float weight : ce_weights) count += weight > 0 ? 1 : 0;
  return count;
}

void MicroBatch::append(const Sample& sample) {
  const std::size_t length = sample.ids.size();
  RLCPP_CHECK(length > 0 && sample.mask.size() == length && sample.mask[0] == 0);
  const bool has_policy = !sample.advantages.empty();
  RLCPP_CHECK(ids.empty() || rl == has_policy);  // a row is one kind of data
  RLCPP_CHECK(!has_policy ||
              (sample.advantages.size() == length && sample.inference_logprobs.size() == length));
  RLCPP_CHECK(sample.teacher_logprobs.empty() || sample.teacher_logprobs.size() == length);
  RLCPP_CHECK(sample.ce_weights.empty() ||
              (has_policy && sample.ce_weights.size() == length && sample.ce_weights[0] == 0));
  rl = has_policy;

  const std::size_t before = ids.size();
  if (cu_seqlens.empty()) cu_seqlens.push_back(0);
  ids.insert(ids.end(), sample.ids.begin(), sample.ids.end());
  for (std::size_t t = 0; t < length; ++t) positions.push_back(static_cast<std::int32_t>(t));
  cu_seqlens.push_back(static_cast<std::int32_t>(ids.size()));
  mask.insert(mask.end(), sample.mask.begin(), sample.mask.end());
  sample_index.push_back(sample.index);

  if (has_policy) {
    inference_logprobs.insert(inference_logprobs.end(), sample.inference_logprobs.begin(),
                              sample.inference_logprobs.end());
    advantages.insert(advantages.end(), sample.advantages.begin(), sample.advantages.end());
  }
  // Optional streams appear with the first document that has them; documents without get neutral values.
  if (!teacher_logprobs.empty() || !sample.teacher_logprobs.empty()) {
    teacher_logprobs.resize(before, 0.0F);
    teacher_logprobs.insert(teacher_logprobs.end(), sample.teacher_logprobs.begin(),
                            sample.teacher_logprobs.end());
    teacher_logprobs.resize(ids.size(), 0.0F);
  }
  if (!ce_weights.empty() || !sample.ce_weights.empty()) {
    ce_weights.resize(before, 0.0F);
    ce_weights.insert(ce_weights.end(), sample.ce_weights.begin(), sample.ce_weights.end());
    ce_weights.resize(ids.size(), 0.0F);
  }
  if (!temperatures.empty() || sample.temperature != 1.0F) {
    temperatures.resize(before, 1.0F);
    temperatures.resize(ids.size(), sample.temperature);
  }
}

void MicroBatch::shrink_to_fit() {
  ids.shrink_to_fit();
  positions.shrink_to_fit();
  cu_seqlens.shrink_to_fit();
  mask.shrink_to_fit();
  inference_logprobs.shrink_to_fit();
  advantages.shrink_to_fit();
  teacher_logprobs.shrink_to_fit();
  ce_weights.shrink_to_fit();
  temperatures.shrink_to_fit();
  sample_index.shrink_to_fit();
}

}  // namespace rlcpp::data
