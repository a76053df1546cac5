#include "data/batch.h"

#include "support.h"

namespace rlcpp::data {
namespace {

Sample rollout(std::int32_t first, std::size_t length) {
  Sample s;
  for (std::size_t t = 0; t < length; ++t) {
    s.ids.push_back(first + static_cast<std::int32_t>(t));
    s.mask.push_back(t >= 2 ? 1 : 0);
    s.inference_logprobs.push_back(t >= 2 ? -0.5F * static_cast<float>(t) : 0.0F);
    s.advantages.push_back(t >= 2 ? 1.5F : 0.0F);
  }
  s.index = first;
  return s;
}

TEST(MicroBatch, AppendsDocumentsWithTheirStreams) {
  MicroBatch b;
  EXPECT_EQ(b.documents(), 0);
  b.append(rollout(10, 4));
  b.append(rollout(20, 3));
  EXPECT_EQ(b.ids, (std::vector<std::int32_t>{10, 11, 12, 13, 20, 21, 22}));
  EXPECT_EQ(b.positions, (std::vector<std::int32_t>{0, 1, 2, 3, 0, 1, 2}));
  EXPECT_EQ(b.cu_seqlens, (std::vector<std::int32_t>{0, 4, 7}));
  EXPECT_EQ(b.sample_index, (std::vector<std::int64_t>{10, 20}));
  EXPECT_EQ(b.inference_logprobs, (std::vector<float>{0, 0, -1, -1.5, 0, 0, -1}));
  EXPECT_EQ(b.advantages, (std::vector<float>{0, 0, 1.5, 1.5, 0, 0, 1.5}));
  EXPECT_EQ(b.loss_tokens(), 3);
  EXPECT_EQ(b.tokens(), 7);
  EXPECT_TRUE(b.rl);
  EXPECT_TRUE(b.temperatures.empty());
  EXPECT_TRUE(b.teacher_logprobs.empty());
}

TEST(MicroBatch, OptionalStreamsAreFilledForDocumentsWithout) {
  MicroBatch b;
  b.append(rollout(1, 2));
  Sample hot = rollout(2, 3);
  hot.temperature = 0.7F;
  hot.teacher_logprobs = {0, 0, -2};
  b.append(hot);
  b.append(rollout(3, 1));
  EXPECT_EQ(b.temperatures, (std::vector<float>{1, 1, 0.7F, 0.7F, 0.7F, 1}));
  EXPECT_EQ(b.teacher_logprobs, (std::vector<float>{0, 0, 0, 0, -2, 0}));
}

TEST(MicroBatch, KindsDoNotMixAndFirstTokensAreNeverTrained) {
  MicroBatch b;
  b.append(rollout(1, 3));
  Sample plain;
  plain.ids = {1, 2};
  plain.mask = {0, 1};
  EXPECT_ANY_THROW(b.append(plain));
  MicroBatch c;
  c.append(plain);
  EXPECT_FALSE(c.rl);
  plain.mask = {1, 1};
  EXPECT_ANY_THROW(c.append(plain));
  plain.mask = {0};
  EXPECT_ANY_THROW(c.append(plain));
  EXPECT_ANY_THROW(c.append(Sample{}));
}

}  // namespace
}  // namespace rlcpp::data
