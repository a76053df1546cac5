#include "orchestrator/prompt_survey.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/signals.h"
#include "orchestrator/stub_policy.h"

namespace rlcpp::orchestrator {
namespace {

using testing::adding;
using testing::byte_codec;

std::string text_of(const std::vector<env::Message>& messages) {
  return messages.back().content;
}

TEST(PromptSurvey, CountsWhatHasNoRoom) {
  const Environments environments({adding("add", 10'000)}, byte_codec());
  ThreadPool pool(3);
  std::int64_t shortest = 1000, longest = 0, too_long = 0;
  std::string first;
  for (std::int64_t index = 100; index < 9000; ++index) {
    const std::int64_t length = environments.open({0, index}).prompt_length();
    if (length < 8) continue;
    if (too_long++ == 0) first = environments.at(0).place(index);
    shortest = std::min(shortest, length);
    longest = std::max(longest, length);
  }
  std::vector<std::int64_t> told;
  const PromptSurvey found =
      survey_prompts(environments, 0, 100, 9000, 8, pool, [&](std::int64_t done) { told.push_back(done); });
  EXPECT_GT(too_long, 100);
  EXPECT_EQ(found.prompts, 8900);
  EXPECT_EQ(found.too_long, too_long);
  EXPECT_EQ(found.shortest, shortest);
  EXPECT_EQ(found.longest, longest);
  EXPECT_EQ(found.first_too_long, first);
  EXPECT_EQ(found.lossy, 0);
  EXPECT_GT(told.size(), 1U);
  EXPECT_EQ(told.back(), 8900);
  EXPECT_EQ(survey_prompts(environments, 0, 0, 10'000, 64, pool).too_long, 0);
}

TEST(PromptSurvey, TheFirstWrongTaskIsNamedWhicheverThreadFindsIt) {
  TextCodec codec = byte_codec();
  const auto bytes = codec.prompt_ids;
  const Environments plain({adding("add", 3000)}, byte_codec());
  const std::string wrong = text_of(plain.at(0).task(1700).prompt);
  std::int64_t first = 0;
  while (text_of(plain.at(0).task(first).prompt) != wrong) ++first;
  codec.prompt_ids = [&](const std::vector<env::Message>& messages) {
    if (text_of(messages) == wrong) throw bad_input("the chat template refuses this", "it says so");
    return bytes(messages);
  };
  const Environments environments({adding("add", 3000)}, codec);
  for (int threads : {1, 4}) {
    ThreadPool pool(threads);
    try {
      survey_prompts(environments, 0, 0, 3000, 64, pool);
      ADD_FAILURE() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_EQ(e.what(), fmt::format("task {} of environment 'add': the chat template refuses this", first));
    }
  }
}

TEST(PromptSurvey, BytesThatAreLeftOutAreCounted) {
  TextCodec codec = byte_codec();
  codec.loses_bytes = [](const std::vector<env::Message>& messages) {
    return text_of(messages).find("99") != std::string::npos;
  };
  const Environments environments({adding("add", 3000)}, codec);
  std::int64_t lossy = 0;
  for (std::int64_t index = 0; index < 3000; ++index)
    lossy += text_of(environments.at(0).task(index).prompt).find("99") != std::string::npos ? 1 : 0;
  ThreadPool pool(2);
  const PromptSurvey found = survey_prompts(environments, 0, 0, 3000, 64, pool);
  EXPECT_GT(lossy, 10);
  EXPECT_EQ(found.lossy, lossy);
  EXPECT_TRUE(found.first_lossy.starts_with("task "));
}

TEST(PromptSurvey, ASignalEndsIt) {
  const Environments environments({adding("add", 10'000)}, byte_codec());
  ThreadPool pool(1);
  const PromptSurvey found =
      survey_prompts(environments, 0, 0, 10'000, 64, pool, [](std::int64_t) { request_stop(SIGINT); });
  clear_stop();
  EXPECT_GT(found.prompts, 0);
  EXPECT_LT(found.prompts, 10'000);
}

}  // namespace
}  // namespace rlcpp::orchestrator
