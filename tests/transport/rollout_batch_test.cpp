#include "transport/rollout_batch.h"

#include <cstring>
#include <functional>

#include "base/durable.h"
#include "base/error.h"
#include "transport/world.h"

namespace rlcpp::transport {
namespace {

std::string refusal(const std::string& bytes) {
  try {
    decode(bytes, "rank_0.bin");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.what()).find("rank_0.bin"), std::string::npos) << e.render();
    return e.render();
  }
  return "accepted";
}

// As if a writer of ours had made it: length and checksum are right.
std::string sealed(std::string bytes) {
  const std::uint64_t length = bytes.size();
  std::memcpy(bytes.data() + 16, &length, sizeof(length));
  const std::uint32_t crc = durable::crc32c(std::as_bytes(std::span(bytes).first(bytes.size() - 4)));
  std::memcpy(bytes.data() + bytes.size() - 4, &crc, sizeof(crc));
  return bytes;
}

TEST(RolloutBatch, EveryStreamComesBack) {
  Rng rng(test::fresh_seed());
  for (int i = 0; i < 200; ++i) {
    const RolloutBatch batch = random_batch(rng, static_cast<std::int64_t>(rng.below(1000)) + 1);
    const std::string bytes = encode(batch);
    expect_equal(decode(bytes, "rank_0.bin"), batch);
    EXPECT_EQ(encode(decode(bytes, "rank_0.bin")), bytes);
  }
}

TEST(RolloutBatch, EveryFlippedBitAndEveryCutIsRefusedByName) {
  Rng rng(test::fresh_seed());
  RolloutBatch batch = random_batch(rng, 3);
  batch.micro_batches = {random_row(rng, true, true, true)};
  const std::string bytes = encode(batch);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ (1 << rng.below(8)));
    EXPECT_NE(refusal(bad), "accepted") << at;
  }
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_NE(refusal(bytes.substr(0, length)), "accepted") << length;
  EXPECT_NE(refusal(bytes + "x"), "accepted");
  EXPECT_NE(refusal(std::string(200, 'x')).find("does not begin"), std::string::npos);
}

TEST(RolloutBatch, AnotherVersionIsRefusedAsSuch) {
  Rng rng(test::fresh_seed());
  std::string bytes = encode(random_batch(rng, 1));
  bytes[8] = 3;
  const std::string text = refusal(sealed(bytes));
  EXPECT_NE(text.find("version 3"), std::string::npos) << text;
  EXPECT_NE(text.find("reads versions 1 and 2"), std::string::npos) << text;
}

// A trainer of before reads what it can train on, and says so of what it cannot.
TEST(RolloutBatch, OnlyWeightsNeedTheNewerVersion) {
  Rng rng(test::fresh_seed());
  RolloutBatch batch;
  batch.step = 1;
  data::Sample sample;
  sample.ids = {5, 6, 7};
  sample.mask = {0, 1, 0};
  sample.advantages = sample.inference_logprobs = {0, 1, 0};
  batch.micro_batches.emplace_back().append(sample);
  EXPECT_EQ(encode(batch)[8], 1);
  sample.ce_weights = {0, 0, 0.25F};
  batch.micro_batches.emplace_back().append(sample);
  const std::string bytes = encode(batch);
  EXPECT_EQ(bytes[8], 2);
  expect_equal(decode(bytes, "rank_0.bin"), batch);
  // The last stream: a weight of a token that the policy's loss has, of a first token, and none that is no
  // number.
  const auto with = [&](std::size_t token, float value) {
    std::string bad = bytes;
    std::memcpy(bad.data() + bad.size() - 4 - 12 + 4 * token, &value, 4);
    return refusal(sealed(bad));
  };
  EXPECT_NE(with(1, 0.5F).find("ce_weight"), std::string::npos);
  EXPECT_NE(with(0, 0.5F).find("first token"), std::string::npos);
  EXPECT_NE(with(2, -1.0F).find("ce_weight"), std::string::npos);
  EXPECT_NE(with(2, std::nanf("")).find("ce_weight"), std::string::npos);
  EXPECT_EQ(with(2, 2.0F), "accepted");
}

// What a checksum cannot find: a writer with an error.
TEST(RolloutBatch, RowsThatAreNoneAreRefused) {
  RolloutBatch batch;
  batch.step = 1;
  data::Sample sample;
  sample.ids = {5, 6, 7, 8};
  sample.mask = {0, 1, 1, 0};
  batch.micro_batches.emplace_back().append(sample);
  batch.micro_batches.back().append(sample);
  const std::string good = encode(batch);
  std::uint32_t header = 0;
  std::memcpy(&header, good.data() + 12, sizeof(header));
  const std::size_t body = 24 + header, mask = body + 8 * 4, ends = mask + 8;
  const auto with = [&](std::size_t at, std::int32_t value, std::size_t bytes) {
    std::string bad = good;
    std::memcpy(bad.data() + at, &value, bytes);
    return refusal(sealed(bad));
  };
  EXPECT_NE(with(mask, 1, 1).find("is trained"), std::string::npos);
  EXPECT_NE(with(mask + 1, 7, 1).find("a mask"), std::string::npos);
  EXPECT_NE(with(ends, 1, 4).find("documents of the row"), std::string::npos);
  EXPECT_NE(with(ends + 4, 0, 4).find("document 0"), std::string::npos);
  EXPECT_NE(with(ends + 4, -3, 4).find("document 0"), std::string::npos);
  EXPECT_NE(with(ends + 8, 7, 4).find("documents of the row"), std::string::npos);
  EXPECT_NE(with(12, 1 << 30, 4).find("does not fit"), std::string::npos);
  // Counts that would ask for more memory than there is.
  std::string claims = good;
  const std::size_t digit = claims.find("\"tokens\":8");
  ASSERT_NE(digit, std::string::npos);
  claims[digit + 9] = '9';
  EXPECT_NE(refusal(sealed(claims)), "accepted");
  std::string extra = good;
  extra.insert(extra.size() - 4, "tail");
  EXPECT_NE(refusal(sealed(extra)).find("rows end"), std::string::npos);
}

}  // namespace
}  // namespace rlcpp::transport
