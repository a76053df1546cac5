// Conversations of several turns with a policy without a model: what it is asked, what is kept, what is
// trained.
#include "orchestrator/conversations.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "base/error.h"
#include "orchestrator/batch.h"
#include "orchestrator/metrics.h"
#include "orchestrator/rollout_log.h"
#include "orchestrator/scheduler.h"
#include "orchestrator/stub_policy.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

using testing::byte_codec;
using testing::StubPolicy;

EnvSection sorting(std::int64_t min_turns, std::int64_t max_turns) {
  EnvSection section;
  section.id = "alphabet-sort";
  section.args = nlohmann::json{
      {"min_turns", min_turns},
      {"max_turns", max_turns},
      {"max_names_per_turn", 2},
      {"size", 40}}.dump();
  return section;
}

// Text that tells prompts and seeds apart, of 1 to 9 bytes before the end.
StubPolicy::Answer talker() {
  return [](const std::string& prompt, std::uint64_t seed) {
    Rng rng(mix64(seed, prompt.size()));
    std::string out;
    for (std::uint64_t i = 1 + rng.below(9); i > 0; --i) out += static_cast<char>('a' + rng.below(26));
    return out;
  };
}

std::vector<std::int32_t> joined(const Group& group, const Rollout& rollout, std::int64_t count) {
  std::vector<std::int32_t> out = group.prompt_ids;
  out.insert(out.end(), rollout.ids.begin(), rollout.ids.begin() + count);
  return out;
}

struct Bench {
  Bench(const EnvSection& section, std::int64_t seq_len, std::uint64_t timing = 1,
        std::optional<std::int64_t> max_tokens = std::nullopt, double oversampling = 1.0,
        ReplyFilter filter = {})
      : policy(talker(), timing),
        environments({section}, byte_codec(), std::move(filter)),
        buffer({}, {{"alphabet-sort", 40, [](std::int64_t i) { return static_cast<std::uint64_t>(i); }}}, 3),
        scheduler(policy, environments, buffer, options(seq_len, max_tokens, oversampling)) {}
  static SchedulerOptions options(std::int64_t seq_len, std::optional<std::int64_t> max_tokens,
                                  double oversampling) {
    SchedulerOptions out;
    out.batch_size = 24;
    out.rollouts_per_example = 4;
    out.oversampling_factor = oversampling;
    out.seq_len = seq_len;
    out.sampling.max_tokens = max_tokens;
    out.stop_ids = {0};
    out.seed = 11;
    return out;
  }
  StubPolicy policy;
  Environments environments;
  Buffer buffer;
  Scheduler scheduler;
};

TEST(Conversations, EachTurnIsAskedBehindWhatWasSampled) {
  Bench bench(sorting(1, 4), 4096);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  ASSERT_EQ(batch.groups.size(), 6U);
  // Later turns by their prompt.
  std::map<std::vector<std::int32_t>, std::vector<rollout::GroupRequest>> asked;
  for (const rollout::GroupRequest& request : bench.policy.requests) asked[request.prompt].push_back(request);
  std::set<std::int64_t> turns;
  std::size_t requests = 0;
  for (const Group& group : batch.groups) {
    const auto answers = nlohmann::json::parse(group.task.answer);
    for (const Rollout& rollout : group.rollouts) {
      turns.insert(rollout.turns());
      ASSERT_EQ(rollout.turns(), static_cast<std::int64_t>(answers.size()));  // as many as the task has
      ASSERT_EQ(rollout.responses.size(), static_cast<std::size_t>(rollout.turns()));
      EXPECT_FALSE(rollout.truncated());
      std::uint64_t seed = rollout_seed(11, group.id, rollout.sample);
      std::int64_t begin = 0, sampled = 0;
      for (std::int64_t turn = 0; turn < rollout.turns(); ++turn) {
        const auto place = asked.find(joined(group, rollout, begin));
        ASSERT_NE(place, asked.end());
        bool found = false;
        for (const rollout::GroupRequest& request : place->second) {
          for (std::size_t i = 0; i < request.seeds.size(); ++i)
            found = found || request.seeds[i] == turn_seed(seed, turn);
        }
        EXPECT_TRUE(found) << turn;
        // The response is what the policy gives for that prompt and seed, and its end.
        const std::int64_t end = turn + 1 < rollout.turns()
                                     ? rollout.replies[static_cast<std::size_t>(turn)].begin
                                     : rollout.length();
        const std::string prompt(place->first.begin(), place->first.end());
        const std::string said = talker()(prompt, turn_seed(seed, turn));
        EXPECT_EQ(said, rollout.responses[static_cast<std::size_t>(turn)]);
        EXPECT_EQ(std::string(rollout.ids.begin() + begin, rollout.ids.begin() + end), said + '\0');
        for (std::int64_t t = begin; t < end; ++t)
          EXPECT_EQ(rollout.logprobs[static_cast<std::size_t>(t)],
                    -static_cast<float>(mix64(turn_seed(seed, turn), static_cast<std::uint64_t>(t - begin)) %
                                        1000) /
                        100.0F);
        sampled += end - begin;
        requests += turn > 0 ? 1 : 0;
        if (turn + 1 == rollout.turns()) break;
        // What the environment says, without the end of turn that the policy has sampled.
        const Reply& reply = rollout.replies[static_cast<std::size_t>(turn)];
        env::Responses so_far(rollout.responses.begin(), rollout.responses.begin() + turn + 1);
        const auto expected = bench.environments.at(0).reply(group.task, so_far);
        ASSERT_EQ(reply.messages.size(), 1U);
        EXPECT_EQ(reply.messages[0].content, expected[0].content);
        EXPECT_EQ(std::string(rollout.ids.begin() + reply.begin, rollout.ids.begin() + reply.end),
                  "[" + expected[0].content + "]");
        begin = reply.end;
      }
      EXPECT_EQ(rollout.sampled_tokens(), sampled);
      // Only what was sampled is trained.
      const data::Sample sample = make_sample(group, rollout, 1.0, 4096, 0);
      EXPECT_EQ(sample.ids, joined(group, rollout, rollout.length()));
      EXPECT_EQ(std::count(sample.mask.begin(), sample.mask.end(), 1), sampled);
      for (const Reply& reply : rollout.replies) {
        for (std::int64_t t = reply.begin; t < reply.end; ++t) {
          const auto at = static_cast<std::size_t>(group.prompt_length() + t);
          EXPECT_EQ(sample.mask[at], 0);
          EXPECT_EQ(sample.advantages[at], 0.0F);
          EXPECT_EQ(sample.inference_logprobs[at], 0.0F);
        }
      }
    }
  }
  EXPECT_EQ(bench.policy.requests.size(), 6 + requests);
  EXPECT_GE(turns.size(), 3U);
  const monitor::Metrics metrics = batch_metrics(batch.groups, bench.environments);
  EXPECT_EQ(metrics.get("num_turns/max"), static_cast<double>(*turns.rbegin()));
  EXPECT_GT(metrics.get("num_turns/mean"), 1);
  const std::string lines = rollout_lines(batch.groups, bench.environments, {1});
  const auto line = nlohmann::json::parse(lines.substr(lines.rfind("\n", lines.size() - 2) + 1));
  const Rollout& last = batch.groups.back().rollouts.back();
  EXPECT_EQ(line["num_turns"], last.turns());
  if (last.turns() > 1) {
    ASSERT_EQ(line["turns"].size(), static_cast<std::size_t>(last.turns()));
    EXPECT_EQ(line["turns"][0]["response"], last.responses[0]);
    EXPECT_EQ(line["turns"][1]["sampled"][0], last.replies[0].end);
    EXPECT_EQ(line["turns"][0]["reply"][0]["content"], last.replies[0].messages[0].content);
  }
}

std::string content(const Scheduler::Batch& batch) {
  std::string out;
  for (const Group& group : batch.groups) {
    out += fmt::format("\n{}:", group.id);
    for (const Rollout& rollout : group.rollouts)
      out += std::string(rollout.ids.begin(), rollout.ids.end()) + (rollout.truncated() ? "|" : ";");
  }
  return out;
}

// Turns come back in any order; a scheduler that begins where another stopped goes on with the same bits.
TEST(Conversations, TimingChangesNothingAndAResumedRunGoesOn) {
  Bench reference(sorting(2, 4), 4096);
  const std::string first = content(reference.scheduler.collect({}));
  const nlohmann::json state = reference.buffer.state();
  const std::int64_t next = reference.scheduler.next_group();
  const std::string second = content(reference.scheduler.collect({}));
  EXPECT_NE(first, second);
  for (std::uint64_t timing = 2; timing < 8; ++timing) {
    Bench bench(sorting(2, 4), 4096, timing);
    EXPECT_EQ(content(bench.scheduler.collect({})), first);
    EXPECT_EQ(content(bench.scheduler.collect({})), second);
  }
  Bench resumed(sorting(2, 4), 4096, 99);
  resumed.buffer.restore(state);
  resumed.scheduler.set_next_group(next);
  EXPECT_EQ(content(resumed.scheduler.collect({})), second);
}

// Weights land on the content of replies of the chosen roles, and nowhere else.
TEST(Conversations, EchoWeighsExactlyWhatTheEnvironmentSaid) {
  Bench bench(sorting(2, 3), 4096);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      const data::Sample sample = make_sample(group, rollout, 1.0, 4096, 0, {{"user", 0.25}, {"tool", 1.0}});
      ASSERT_EQ(sample.ce_weights.size(), sample.ids.size());
      std::string trained, said;
      for (std::size_t t = 0; t < sample.ids.size(); ++t) {
        if (sample.ce_weights[t] == 0) continue;
        EXPECT_EQ(sample.ce_weights[t], 0.25F);
        EXPECT_EQ(sample.mask[t], 0);
        trained += static_cast<char>(sample.ids[t]);
      }
      for (const Reply& reply : rollout.replies) said += reply.messages[0].content;
      EXPECT_EQ(trained, said);
      EXPECT_TRUE(make_sample(group, rollout, 1.0, 4096, 0, {{"tool", 1.0}}).ce_weights.empty());
      EXPECT_TRUE(make_sample(group, rollout, 1.0, 4096, 0).ce_weights.empty());
      Rollout failed = rollout;
      failed.error = "ScoreError";
      EXPECT_TRUE(make_sample(group, failed, 1.0, 4096, 0, {{"user", 0.25}}).ce_weights.empty());
      // Cut like every other stream.
      const data::Sample cut =
          make_sample(group, rollout, 1.0, group.prompt_length() + 40, 0, {{"user", 0.25}});
      EXPECT_EQ(cut.ce_weights.size(), cut.ids.size());
    }
  }
}

// The filter takes away every byte of a match and no other; std::regex and a loop over lines say which.
TEST(Conversations, EchoLeavesOutWhatItsFilterMatches) {
  Bench bench(sorting(2, 3), 4096, 1, std::nullopt, 1.0,
              ReplyFilter({"[A-Z][a-z]*", "^[^\n]*[:.]$", "no such words"}));
  Bench whole(sorting(2, 3), 4096);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  EXPECT_EQ(content(batch), content(whole.scheduler.collect({})));  // the conversations are the same
  std::size_t left = 0, gone = 0;
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      const data::Sample sample = make_sample(group, rollout, 1.0, 4096, 0, {{"user", 0.25}});
      std::string trained, expected;
      for (std::size_t t = 0; t < sample.ce_weights.size(); ++t) {
        if (sample.ce_weights[t] != 0) trained += static_cast<char>(sample.ids[t]);
      }
      for (const Reply& reply : rollout.replies) {
        const std::string& said = reply.messages[0].content;
        std::vector<bool> keep(said.size(), true);
        const std::regex word("[A-Z][a-z]*");
        for (std::sregex_iterator it(said.begin(), said.end(), word), end; it != end; ++it)
          std::fill_n(keep.begin() + it->position(), it->length(), false);
        for (std::size_t begin = 0; begin < said.size();) {
          const std::size_t end = std::min(said.find('\n', begin), said.size());
          if (end > begin && (said[end - 1] == ':' || said[end - 1] == '.'))
            std::fill(keep.begin() + static_cast<std::ptrdiff_t>(begin),
                      keep.begin() + static_cast<std::ptrdiff_t>(end), false);
          begin = end + 1;
        }
        for (std::size_t i = 0; i < said.size(); ++i) {
          if (keep[i]) expected += said[i];
          (keep[i] ? left : gone) += 1;
        }
      }
      EXPECT_EQ(trained, expected);
    }
  }
  EXPECT_GT(left, 100U);
  EXPECT_GT(gone, 100U);
}

TEST(Conversations, WithoutRoomItEndsTruncated) {
  Bench bench(sorting(4, 4), 600);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  std::int64_t cut = 0;
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      EXPECT_LE(group.prompt_length() + rollout.length(), 600);
      EXPECT_EQ(rollout.truncated(), rollout.turns() < 4 || rollout.ids.back() != 0);
      if (!rollout.replies.empty()) {
        EXPECT_GT(rollout.length(),
                  rollout.replies.back().end);  // the environment does not have the last word
      }
      cut += rollout.truncated() ? 1 : 0;
    }
  }
  EXPECT_GT(cut, 0);
}

// A turn that is cut at max_tokens is closed by the template, and the next one follows.
TEST(Conversations, ACutTurnIsClosedForThePolicy) {
  Bench bench(sorting(3, 3), 4096, 1, 4);
  const Scheduler::Batch batch = bench.scheduler.collect({});
  std::int64_t cut = 0;
  for (const Group& group : batch.groups) {
    for (const Rollout& rollout : group.rollouts) {
      EXPECT_EQ(rollout.turns(), 3);
      bool any = rollout.ids.back() != 0;
      for (const Reply& reply : rollout.replies) {
        const bool closed = rollout.ids[static_cast<std::size_t>(reply.begin)] == 0;
        EXPECT_EQ(closed, rollout.ids[static_cast<std::size_t>(reply.begin - 1)] != 0);
        any = any || closed;
      }
      EXPECT_EQ(rollout.truncated(), any);
      cut += any ? 1 : 0;
    }
  }
  EXPECT_GT(cut, 0);
}

TEST(Conversations, WhatIsNotNeededIsAbortedInTheMiddle) {
  Bench bench(sorting(3, 3), 4096, 5, std::nullopt, 3.0);
  for (int step = 0; step < 3; ++step) {
    const Scheduler::Batch batch = bench.scheduler.collect({});
    EXPECT_EQ(batch.groups.size(), 6U);
    EXPECT_EQ(bench.policy.outstanding(), 0);
    EXPECT_GT(batch.cancelled_rollouts, 0);
    for (const Group& group : batch.groups) {
      for (const Rollout& rollout : group.rollouts) EXPECT_EQ(rollout.turns(), 3);
    }
  }
}

TEST(Conversations, ATemplateThatCannotGoOnIsRefusedAtTheStart) {
  TextCodec codec = byte_codec();
  codec.continuation = [](const auto&, const auto&) -> data::Continuation {
    throw bad_input("no way", "b", "h");
  };
  EXPECT_NO_THROW(Environments({sorting(1, 1)}, codec));
  EXPECT_THROW(Environments({sorting(1, 2)}, codec), Error);
}

}  // namespace
}  // namespace rlcpp::orchestrator
