// What the engine promises beyond bits: reasons, counts, errors, statistics, the distribution sampled from.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "rollout/tiny_model.h"

namespace rlcpp::rollout {
namespace {

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : rng_(test::fresh_seed()), model_(tiny_config(TinyKind::kQwen3, rng_), rng_.next_u64()) {}

  GroupRequest request(std::int64_t id, std::int32_t n, std::int32_t max_tokens) {
    GroupRequest r;
    r.id = id;
    r.prompt = {1, 2, 3, 4, 5};
    r.n = n;
    r.max_tokens = max_tokens;
    for (std::int32_t i = 0; i < n; ++i) r.seeds.push_back(rng_.next_u64());
    return r;
  }

  Rng rng_;
  TinyModel model_;
};

const EngineConfig kConfig{.max_sequences = 16, .max_batch_tokens = 64, .page_size = 4, .max_model_len = 32};
EngineConfig with_look_ahead(bool ahead) {
  EngineConfig config = kConfig;
  config.look_ahead = ahead;
  return config;
}

TEST_F(EngineTest, LengthIsMaxTokensOrTheModels) {
  TinyEngine tiny(model_, kConfig);
  tiny.engine->submit(request(1, 2, 3));
  tiny.engine->submit(request(2, 2, 1000));
  const std::vector<SampledSequence> got = tiny.engine->run();
  ASSERT_EQ(got.size(), 4U);
  for (const SampledSequence& sequence : got) {
    EXPECT_EQ(sequence.finish, FinishReason::kLength);
    EXPECT_EQ(sequence.ids.size(), sequence.group == 1 ? 3U : 32U - 5U);
    EXPECT_EQ(sequence.logprobs.size(), sequence.ids.size());
  }
}

TEST_F(EngineTest, StopIdIsTheLastTokenAndNeverAmongTheFirst) {
  TinyEngine tiny(model_, kConfig);
  GroupRequest r = request(1, 16, 27);
  for (std::int32_t id = 0; id < 20; ++id) r.stop_ids.push_back(id);
  r.min_tokens = 5;
  tiny.engine->submit(r);
  const std::vector<SampledSequence> got = tiny.engine->run();
  const std::set<std::int32_t> stops(r.stop_ids.begin(), r.stop_ids.end());
  std::int64_t stopped = 0;
  for (const SampledSequence& sequence : got) {
    ASSERT_GE(sequence.ids.size(), 6U);
    for (std::size_t i = 0; i + 1 < sequence.ids.size(); ++i) EXPECT_FALSE(stops.contains(sequence.ids[i]));
    EXPECT_EQ(stops.contains(sequence.ids.back()), sequence.finish == FinishReason::kStop);
    stopped += sequence.finish == FinishReason::kStop ? 1 : 0;
    for (const float logprob : sequence.logprobs) EXPECT_TRUE(std::isfinite(logprob));
  }
  EXPECT_GT(stopped, 0);
}

// Pearson's statistic of first tokens against softmax(logits / temperature) computed in double from the
// trainer's log-probabilities.
TEST_F(EngineTest, FirstTokensFollowTheDistribution) {
  TinyEngine tiny(model_,
                  {.max_sequences = 256, .max_batch_tokens = 512, .page_size = 4, .max_model_len = 8});
  const std::int32_t n = 4000;
  GroupRequest r = request(1, n, 1);
  r.sampling.temperature = 1.5F;
  tiny.engine->submit(r);
  std::map<std::int32_t, std::int64_t> counts;
  for (const SampledSequence& sequence : tiny.engine->run()) ++counts[sequence.ids[0]];
  double statistic = 0, rest_expected = 0, total = 0;
  std::int64_t rest = 0;
  int cells = 0;
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(model_.config.vocab_size); ++id) {
    const double p = std::exp(static_cast<double>(model_.trainer_logprobs(r.prompt, {id}, 1.5F)[0]));
    total += p;
    const double expected = p * n;
    if (expected < 8) {  // too few for a cell of its own
      rest += counts[id];
      rest_expected += expected;
      continue;
    }
    const double difference = static_cast<double>(counts[id]) - expected;
    statistic += difference * difference / expected;
    ++cells;
  }
  EXPECT_NEAR(total, 1.0, 1e-4);
  if (rest_expected > 8) {
    const double difference = static_cast<double>(rest) - rest_expected;
    statistic += difference * difference / rest_expected;
    ++cells;
  }
  const double freedom = std::max(cells - 1, 1);
  // Wilson and Hilferty: (chi^2 / k)^(1/3) is nearly normal. Five standard deviations.
  const double z = (std::cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
  EXPECT_LT(z, 5) << statistic << " with " << freedom << " degrees of freedom, seed " << rng_.seed();
}

TEST_F(EngineTest, SeedsMakeSamplesAndRepeatThem) {
  TinyEngine tiny(model_, kConfig);
  GroupRequest r = request(1, 8, 20);
  r.seeds[3] = r.seeds[0];
  tiny.engine->submit(r);
  std::vector<SampledSequence> got = tiny.engine->run();
  std::ranges::sort(got, {}, &SampledSequence::sample);
  EXPECT_EQ(got[3].ids, got[0].ids);
  std::set<std::vector<std::int32_t>> different;
  for (const SampledSequence& sequence : got) different.insert(sequence.ids);
  EXPECT_GT(different.size(), 1U);
}

class EngineSteps : public EngineTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(, EngineSteps, ::testing::Bool(), [](const auto& ahead) {
  return std::string(ahead.param ? "LookingAhead" : "OneByOne");
});

// What was asked for ahead counts: two steps have drawn two tokens, and the third is on its way.
TEST_P(EngineSteps, AbortReturnsWhatThereIs) {
  TinyEngine tiny(model_, with_look_ahead(GetParam()));
  tiny.engine->submit(request(1, 3, 20));
  tiny.engine->submit(request(2, 2, 4));
  tiny.engine->step();
  tiny.engine->step();
  tiny.engine->abort(1);
  tiny.engine->abort(77);  // nobody
  EXPECT_FALSE(tiny.engine->idle());
  std::map<std::int64_t, int> count;
  for (const SampledSequence& sequence : tiny.engine->run()) {
    ++count[sequence.group];
    EXPECT_EQ(sequence.finish, sequence.group == 1 ? FinishReason::kAborted : FinishReason::kLength);
    EXPECT_EQ(sequence.ids.size(), sequence.group == 1 ? (GetParam() ? 3U : 2U) : 4U);
  }
  EXPECT_EQ(count[1], 3);
  EXPECT_EQ(count[2], 2);
  EXPECT_TRUE(tiny.engine->idle());
  // The id may be used again; what has not started can be aborted too.
  tiny.engine->submit(request(1, 2, 4));
  tiny.engine->abort(1);
  const std::vector<SampledSequence> rest = tiny.engine->run();
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_TRUE(rest[0].ids.empty());
}

TEST_F(EngineTest, OutputsGrowIntoTheResult) {
  TinyEngine tiny(model_, kConfig);
  tiny.engine->submit(request(7, 3, 6));
  std::vector<std::vector<std::int32_t>> seen(3);
  std::vector<SampledSequence> got;
  while (!tiny.engine->idle()) {
    for (SampledSequence& sequence : tiny.engine->step()) got.push_back(std::move(sequence));
    const auto outputs = tiny.engine->outputs(7);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      ASSERT_LE(outputs[i].size(), seen[i].size() + 1);
      ASSERT_TRUE(std::equal(seen[i].begin(), seen[i].end(), outputs[i].begin()));
      seen[i].assign(outputs[i].begin(), outputs[i].end());
    }
    EXPECT_TRUE(tiny.engine->outputs(8).empty());
  }
  ASSERT_EQ(got.size(), 3U);
  EXPECT_TRUE(tiny.engine->outputs(7).empty());
  for (const SampledSequence& sequence : got) {
    const auto& before = seen[static_cast<std::size_t>(sequence.sample)];
    ASSERT_EQ(before.size(), 5U);  // the sixth token ended it
    EXPECT_TRUE(std::equal(before.begin(), before.end(), sequence.ids.begin()));
  }
}

TEST_F(EngineTest, CountsWhatItDoes) {
  TinyEngine tiny(model_, kConfig);
  tiny.engine->submit(request(1, 4, 6));
  tiny.engine->run();
  const EngineStats& stats = tiny.engine->stats();
  EXPECT_EQ(stats.prefill_tokens, 5);
  EXPECT_EQ(stats.cached_tokens, 3 * 5);
  EXPECT_EQ(stats.sampled_tokens, 4 * 6);
  EXPECT_EQ(stats.decode_tokens, 4 * 5);  // the last token is never computed
  EXPECT_EQ(stats.forwards, 6);
  EXPECT_EQ(stats.preemptions, 0);
  // A shared full page, and each from position 4 to 9; siblings that happen to draw the same share a second
  // one.
  EXPECT_LE(stats.pages_used_peak, 1 + 4 * 2);
  EXPECT_GE(stats.pages_used_peak, 1 + 1 + 4);
  EXPECT_GT(stats.seconds, 0);
  EXPECT_LE(stats.forward_seconds + stats.sample_seconds, stats.seconds);
}

// Who names another salt, or none, computes the prompt again, and draws the same tokens.
TEST_F(EngineTest, PagesAreSharedAmongRequestsOfOneSaltAlone) {
  TinyEngine tiny(model_, kConfig);
  GroupRequest r = request(1, 1, 6);
  for (std::int32_t id = 6; id < 14; ++id) r.prompt.push_back(id);  // three pages and a token
  std::optional<Answer> first;
  const auto cached = [&](const std::string& salt) {
    ++r.id;
    r.cache_salt = salt;
    const std::int64_t before = tiny.engine->stats().cached_tokens;
    tiny.engine->submit(r);
    const std::vector<SampledSequence> got = tiny.engine->run();
    if (!first.has_value()) first = answer_of(got.at(0));
    expect_same(answer_of(got.at(0)), *first, "salt " + salt);
    return tiny.engine->stats().cached_tokens - before;
  };
  EXPECT_EQ(cached(""), 0);
  EXPECT_EQ(cached("alice"), 0);
  EXPECT_EQ(cached("bob"), 0);
  EXPECT_EQ(cached("alice"), 12);
  EXPECT_EQ(cached("bob"), 12);
  EXPECT_EQ(cached(""), 12);
  tiny.engine->set_version(1);
  EXPECT_EQ(cached("alice"), 0);
}

TEST_P(EngineSteps, TokensCarryTheVersion) {
  TinyEngine tiny(model_, with_look_ahead(GetParam()));
  EXPECT_EQ(tiny.engine->version(), 0);
  tiny.engine->set_version(41);
  tiny.engine->submit(request(1, 1, 4));
  tiny.engine->step();
  tiny.engine->step();
  tiny.engine->set_version(42);
  const std::vector<SampledSequence> got = tiny.engine->run();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].versions, (std::vector<std::int64_t>{41, 41, GetParam() ? 41 : 42, 42}));
}

TEST_F(EngineTest, BadRequestsAreRefusedAndLeaveNoTrace) {
  TinyEngine tiny(model_, kConfig);
  GroupRequest r = request(1, 1, 4);
  tiny.engine->submit(r);
  EXPECT_THROW(tiny.engine->submit(r), Error);  // the id is in use
  GroupRequest outside = request(2, 1, 4);
  outside.prompt.push_back(static_cast<std::int32_t>(model_.config.vocab_size));
  EXPECT_THROW(tiny.engine->submit(outside), Error);
  GroupRequest longer = request(3, 1, 4);
  longer.prompt.assign(32, 1);
  EXPECT_THROW(tiny.engine->submit(longer), Error);
  EXPECT_EQ(tiny.engine->run().size(), 1U);
  tiny.engine->submit(r);
  EXPECT_EQ(tiny.engine->run().size(), 1U);
}

TEST_F(EngineTest, DivergedWeightsAreAnErrorNotATokenOfNoise) {
  TinyEngine tiny(model_, kConfig);
  model_.weights.final_norm.f32()[0] = std::nanf("");
  tiny.engine->submit(request(1, 2, 4));
  try {
    tiny.engine->run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
    EXPECT_NE(error.render().find("not finite"), std::string::npos) << error.render();
  }
}

TEST_F(EngineTest, PlanRefusesWhatCannotRun) {
  const auto expect_refused = [&](EngineConfig config, const std::string& field) {
    MemoryPlan plan;
    try {
      Engine::plan(model_.ctx, model_.config, config, plan);
      FAIL() << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find(field), std::string::npos) << error.render();
    }
  };
  EngineConfig bad = kConfig;
  bad.max_model_len = model_.config.max_position + 1;
  expect_refused(bad, "max_model_len");
  bad = kConfig;
  bad.num_pages = 7;
  expect_refused(bad, "num_pages");
  bad = kConfig;
  bad.num_pages = std::int64_t{1} << 40;
  expect_refused(bad, "num_pages");
  bad = kConfig;
  bad.page_size = 0;
  expect_refused(bad, "page_size");
  bad = kConfig;
  bad.max_sequences = -1;
  expect_refused(bad, "max_sequences");
}

}  // namespace
}  // namespace rlcpp::rollout
