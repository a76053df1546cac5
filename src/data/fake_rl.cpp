#include "data/fake_rl.h"

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::data {
namespace {
constexpr std::uint64_t kFakeRlStream = 0x66616b65726cULL;  // "fakerl"
constexpr std::uint64_t kNoiseStream = 0x6e6f697365ULL;     // "noise"
}  // namespace

std::vector<MicroBatch> fake_rl_batches(const FakeRlOptions& options, std::int64_t step) {
  RLCPP_CHECK(options.seq_len >= 2 && options.vocab_size > 0 && options.micro_batches > 0);
  const std::int64_t ids =
      std::min<std::int64_t>(options.generate_samples ? 120000 : 100, options.vocab_size);
  std::vector<MicroBatch> out;
  for (std::int64_t b = 0; b < options.micro_batches; ++b) {
    Rng rng(mix64(mix64(options.seed, static_cast<std::uint64_t>(step)), static_cast<std::uint64_t>(b)),
            kFakeRlStream);
    MicroBatch batch;
    while (batch.tokens() < options.seq_len) {
      const std::int64_t room = options.seq_len - batch.tokens();
      const std::int64_t longest =
          options.generate_samples ? std::max<std::int64_t>(options.seq_len / 8, 1) : options.seq_len;
      const std::int64_t wanted =
          options.generate_samples
              ? 1 + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(longest)))
              : longest;
      const auto length = static_cast<std::size_t>(std::min(wanted, room));
      Sample sample;
      sample.index = b;
      sample.ids.resize(length);
      for (std::int32_t& id : sample.ids)
        id = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(ids)));
      sample.mask.assign(length, 1);
      sample.mask[0] = 0;
      sample.inference_logprobs.assign(length, 0.0F);
      sample.advantages.resize(length);
      for (std::size_t t = 0; t < length; ++t)
        sample.advantages[t] = sample.mask[t] != 0 ? rng.normal() : 0.0F;
      batch.append(sample);
    }
    out.push_back(std::move(batch));
  }
  return out;
}

void set_inference_logprobs(MicroBatch& batch,
                            const std::function<std::vector<float>(const MicroBatch&)>& policy_logprobs,
                            double sigma, std::uint64_t seed) {
  const std::vector<float> own = policy_logprobs(batch);
  RLCPP_CHECK(own.size() == batch.ids.size() && batch.rl);
  Rng rng(seed, kNoiseStream);
  for (std::size_t t = 0; t < own.size(); ++t) {
    const float noise = static_cast<float>(sigma) * rng.normal();
    batch.inference_logprobs[t] = batch.mask[t] != 0 ? std::min(own[t] + noise, 0.0F) : 0.0F;
  }
}

}  // namespace rlcpp::data
