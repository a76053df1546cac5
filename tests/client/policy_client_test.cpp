// Waiting for a policy, against one that follows a script.
#include "client/policy_client.h"

#include <chrono>
#include <deque>
#include <string>
#include <utility>

#include "base/error.h"
#include "support.h"

namespace rlcpp::client {
namespace {

using rollout::FinishReason;
using rollout::SampledSequence;

SampledSequence sequence_of(std::int64_t group, std::int32_t sample) {
  SampledSequence sequence;
  sequence.group = group;
  sequence.sample = sample;
  sequence.ids = {sample};
  return sequence;
}

// Gives the polls of its script, then silence.
class ScriptedClient final : public PolicyClient {
 public:
  const std::string& name() const override { return name_; }
  void submit(rollout::GroupRequest request) override { outstanding_ += request.n; }
  void abort(std::int64_t) override {}
  Poll poll() override {
    ++polls;
    if (script.empty()) return {};
    Poll poll = std::move(script.front());
    script.pop_front();
    outstanding_ -= static_cast<std::int64_t>(poll.finished.size());
    return poll;
  }
  std::int64_t outstanding() const override { return outstanding_; }
  void set_version(std::int64_t version) override { version_ = version; }
  std::int64_t version() const override { return version_; }

  std::deque<Poll> script;
  int polls = 0;

 private:
  std::string name_ = "the scripted policy";
  std::int64_t outstanding_ = 0;
  std::int64_t version_ = 0;
};

rollout::GroupRequest request_of(std::int32_t n) {
  rollout::GroupRequest request;
  request.n = n;
  return request;
}

TEST(Collect, ReturnsOnceThereAreEnough) {
  ScriptedClient client;
  client.submit(request_of(4));
  client.script = {{{sequence_of(1, 0)}, true},
                   {{}, true},
                   {{sequence_of(1, 2), sequence_of(1, 1)}, true},
                   {{sequence_of(1, 3)}, true}};
  EXPECT_EQ(collect(client, 2).size(), 3U);  // two came at once
  EXPECT_EQ(client.polls, 3);
  EXPECT_EQ(collect_all(client).size(), 1U);
  EXPECT_EQ(collect_all(client).size(), 0U);  // nothing is outstanding: no poll, no wait
  EXPECT_EQ(client.polls, 4);
}

TEST(Collect, SilenceEndsWithAnErrorThatNamesTheClient) {
  ScriptedClient client;
  client.submit(request_of(2));
  client.script = {{{sequence_of(1, 0)}, true}};
  const auto start = std::chrono::steady_clock::now();
  try {
    collect_all(client, {std::chrono::milliseconds(5), std::chrono::milliseconds(40)});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
    EXPECT_NE(error.render().find("the scripted policy"), std::string::npos) << error.render();
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(35));
}

TEST(GroupCollector, GivesGroupsWhenTheyAreComplete) {
  GroupCollector collector;
  collector.expect(7, 3);
  collector.expect(8, 1);
  collector.add(sequence_of(7, 2));
  collector.add(sequence_of(7, 0));
  EXPECT_TRUE(collector.take_complete().empty());
  collector.add(sequence_of(8, 0));
  collector.add(sequence_of(7, 1));
  const std::vector<FinishedGroup> groups = collector.take_complete();
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].id, 8);
  EXPECT_EQ(groups[1].id, 7);
  ASSERT_EQ(groups[1].samples.size(), 3U);
  for (std::int32_t i = 0; i < 3; ++i) EXPECT_EQ(groups[1].samples[static_cast<std::size_t>(i)].sample, i);
  EXPECT_TRUE(collector.take_complete().empty());
  EXPECT_EQ(collector.incomplete(), 0U);
}

TEST(GroupCollector, RefusesWhatWasNotExpected) {
  GroupCollector collector;
  collector.expect(7, 2);
  collector.add(sequence_of(7, 1));
  EXPECT_ANY_THROW(collector.add(sequence_of(7, 1)));  // twice
  EXPECT_ANY_THROW(collector.add(sequence_of(7, 2)));  // no such sample
  EXPECT_ANY_THROW(collector.add(sequence_of(9, 0)));  // no such group
  EXPECT_ANY_THROW(collector.expect(7, 2));
}

}  // namespace
}  // namespace rlcpp::client
