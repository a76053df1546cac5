// Weights that change under a running engine: what each policy promises of tokens, requests and pages.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/error.h"
#include "rollout/tiny_model.h"

namespace rlcpp::rollout {
namespace {

constexpr std::int64_t kMaxLen = 40;

class WeightChangeTest : public ::testing::Test {
 protected:
  WeightChangeTest() : rng_(test::fresh_seed()), model_(tiny_config(TinyKind::kQwen3, rng_), seeds_[0]) {}

  GroupRequest request(std::int64_t id, std::int32_t n, std::int32_t max_tokens) {
    GroupRequest r;
    r.id = id;
    for (int i = 0; i < 9; ++i) r.prompt.push_back(static_cast<std::int32_t>(rng_.below(30)));
    r.n = n;
    r.max_tokens = max_tokens;
    for (std::int32_t i = 0; i < n; ++i) r.seeds.push_back(rng_.next_u64());
    return r;
  }

  static EngineConfig config(WeightChange change) {
    EngineConfig c{.max_sequences = 8, .max_batch_tokens = 32, .page_size = 4, .max_model_len = kMaxLen};
    c.on_new_weights = change;
    c.look_ahead = false;  // these tests count tokens when weights change
    return c;
  }

  void new_weights(Engine& engine, std::int64_t version) {
    model_.randomise(seeds_[static_cast<std::size_t>(version)]);
    engine.set_version(version);
  }

  std::string where() const { return fmt::format("seed {}", rng_.seed()); }

  std::vector<std::uint64_t> seeds_ = {test::fresh_seed(), test::fresh_seed() + 1};
  Rng rng_;
  TinyModel model_;
};

// What a kept sequence draws is a function of its own text and of the token at which the weights changed: the
// same alone and among others. Nothing of its pages reaches a request that comes later.
TEST_F(WeightChangeTest, KeptSequencesGoOnByThemselves) {
  const GroupRequest first = request(1, 2, 20);
  std::map<std::int32_t, Answer> alone;
  std::int64_t recomputed_differ = 0;
  for (const bool crowded : {false, true}) {
    for (const WeightChange change : {WeightChange::kKeep, WeightChange::kRecompute}) {
      model_.randomise(seeds_[0]);
      TinyEngine tiny(model_, config(change));
      tiny.engine->submit(first);
      if (crowded) tiny.engine->submit(request(2, 3, 20));
      for (int i = 0; i < 7; ++i) ASSERT_TRUE(tiny.engine->step().empty());
      new_weights(*tiny.engine, 1);
      const GroupRequest later = [&] {
        GroupRequest r = first;
        r.id = 3;
        r.seeds = {first.seeds[0], first.seeds[1]};
        return r;
      }();
      tiny.engine->submit(later);
      for (const SampledSequence& sequence : tiny.engine->run()) {
        const auto versions_of_7 = std::ranges::count(sequence.versions, 0);
        if (sequence.group == 3) {
          EXPECT_EQ(versions_of_7, 0);
          expect_same(answer_of(sequence), model_.naive(later, sequence.sample, kMaxLen), where());
        }
        if (sequence.group != 1) continue;
        EXPECT_EQ(versions_of_7, 7);
        if (change == WeightChange::kKeep) {
          const auto [place, added] = alone.try_emplace(sequence.sample, answer_of(sequence));
          if (!added) expect_same(answer_of(sequence), place->second, where());
        } else {
          recomputed_differ += alone.at(sequence.sample).logprobs != sequence.logprobs ? 1 : 0;
        }
      }
      const EngineStats& stats = tiny.engine->stats();
      EXPECT_EQ(stats.kept_sequences, change != WeightChange::kKeep ? 0 : crowded ? 5 : 2);
      EXPECT_EQ(stats.recomputed_sequences, change == WeightChange::kKeep ? 0 : crowded ? 5 : 2);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(recomputed_differ, 0);  // keys of old weights are not those of new ones
}

TEST_F(WeightChangeTest, DrainFinishesWhatHasBegunAndNothingElse) {
  TinyEngine tiny(model_, config(WeightChange::kDrain));
  const GroupRequest begun = request(1, 8, 12), waiting = request(2, 2, 6);
  tiny.engine->submit(begun);
  for (int i = 0; i < 3; ++i) tiny.engine->step();
  EXPECT_FALSE(tiny.engine->ready_for_weights());
  tiny.engine->hold_for_weights();
  tiny.engine->submit(waiting);
  std::vector<SampledSequence> got;
  while (!tiny.engine->ready_for_weights()) {
    for (SampledSequence& sequence : tiny.engine->step()) got.push_back(std::move(sequence));
  }
  ASSERT_EQ(got.size(), 8U);
  for (const SampledSequence& sequence : got)
    expect_same(answer_of(sequence), model_.naive(begun, sequence.sample, kMaxLen), where());
  // Nothing happens until the weights are there.
  EXPECT_FALSE(tiny.engine->idle());
  EXPECT_TRUE(tiny.engine->run().empty());
  EXPECT_TRUE(tiny.engine->outputs(2)[0].empty());
  new_weights(*tiny.engine, 1);
  got = tiny.engine->run();
  ASSERT_EQ(got.size(), 2U);
  for (const SampledSequence& sequence : got) {
    expect_same(answer_of(sequence), model_.naive(waiting, sequence.sample, kMaxLen), where());
    EXPECT_EQ(std::ranges::count(sequence.versions, 1), 6);
  }
  // Weights that change under what has begun are a mistake of the caller.
  tiny.engine->submit(begun);
  tiny.engine->step();
  EXPECT_THROW(tiny.engine->set_version(2), Error);
}

// A group of which only a part fits begins as a whole.
TEST_F(WeightChangeTest, DrainFinishesTheRestOfAGroup) {
  EngineConfig small = config(WeightChange::kDrain);
  small.max_sequences = 3;
  TinyEngine tiny(model_, small);
  const GroupRequest begun = request(1, 8, 5);
  tiny.engine->submit(begun);
  tiny.engine->submit(request(2, 1, 5));
  tiny.engine->step();
  tiny.engine->hold_for_weights();
  std::vector<SampledSequence> got = tiny.engine->run();
  EXPECT_EQ(got.size(), 8U);
  for (const SampledSequence& sequence : got) EXPECT_EQ(sequence.group, 1);
  EXPECT_TRUE(tiny.engine->ready_for_weights());
}

TEST_F(WeightChangeTest, AbortEndsWhatHasBegunWithWhatItHas) {
  EngineConfig small = config(WeightChange::kAbort);
  small.max_sequences = 4;
  TinyEngine tiny(model_, small);
  const GroupRequest begun = request(1, 6, 20), waiting = request(2, 2, 6);
  tiny.engine->submit(begun);
  tiny.engine->submit(waiting);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(tiny.engine->step().empty());
  EXPECT_TRUE(tiny.engine->ready_for_weights());
  std::vector<Answer> beginnings;
  for (std::int32_t i = 0; i < begun.n; ++i) beginnings.push_back(model_.naive(begun, i, kMaxLen));
  new_weights(*tiny.engine, 1);
  std::int64_t aborted = 0, whole = 0;
  for (const SampledSequence& sequence : tiny.engine->run()) {
    if (sequence.group == 2) {
      expect_same(answer_of(sequence), model_.naive(waiting, sequence.sample, kMaxLen), where());
      ++whole;
      continue;
    }
    Answer beginning = beginnings[static_cast<std::size_t>(sequence.sample)];
    const std::size_t has = sequence.sample < 4 ? 5 : 0;  // four of the group have run
    beginning.ids.resize(has);
    beginning.logprobs.resize(has);
    beginning.finish = FinishReason::kAborted;
    expect_same(answer_of(sequence), beginning, where());
    ++aborted;
  }
  EXPECT_EQ(aborted, 6);
  EXPECT_EQ(whole, 2);
}

TEST_F(WeightChangeTest, NamesAreThoseOfTheField) {
  for (const WeightChange change :
       {WeightChange::kKeep, WeightChange::kRecompute, WeightChange::kDrain, WeightChange::kAbort})
    EXPECT_EQ(weight_change_of(std::string(name_of(change)), "key"), change);
  try {
    weight_change_of("pause", "inference.on_new_weights");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(error.render().find("inference.on_new_weights"), std::string::npos) << error.render();
  }
}

}  // namespace
}  // namespace rlcpp::rollout
