// A sequence's tokens and log-probabilities are a function of (weights, prompt, parameters, seed), to the
// last bit: the engine under every condition against one forward over the whole text for each token.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "rollout/tiny_model.h"

namespace rlcpp::rollout {
namespace {

using Key = std::pair<std::int64_t, std::int32_t>;  // group, sample

class EngineExact : public ::testing::TestWithParam<TinyKind> {
 protected:
  EngineExact() : rng_(test::fresh_seed()), model_(tiny_config(GetParam(), rng_), rng_.next_u64()) {}

  std::vector<GroupRequest> random_requests(int count) {
    std::vector<GroupRequest> requests;
    for (int i = 0; i < count; ++i) requests.push_back(random_request(model_.config, kMaxLen, i, rng_));
    return requests;
  }

  std::map<Key, Answer> naive(const std::vector<GroupRequest>& requests) {
    std::map<Key, Answer> answers;
    for (const GroupRequest& request : requests) {
      for (std::int32_t i = 0; i < request.n; ++i) {
        answers[{request.id, i}] = model_.naive(request, i, kMaxLen);
      }
    }
    return answers;
  }

  void expect_answers(const std::vector<SampledSequence>& got, const std::map<Key, Answer>& expected,
                      const std::string& where) {
    ASSERT_EQ(got.size(), expected.size()) << where;
    for (const SampledSequence& sequence : got) {
      const std::string place =
          fmt::format("{}, group {} sample {}, seed {}", where, sequence.group, sequence.sample, rng_.seed());
      ASSERT_TRUE(expected.contains({sequence.group, sequence.sample})) << place;
      expect_same(answer_of(sequence), expected.at({sequence.group, sequence.sample}), place);
      ASSERT_EQ(sequence.versions.size(), sequence.ids.size()) << place;
    }
  }

  static constexpr std::int64_t kMaxLen = 40;
  Rng rng_;
  TinyModel model_;
};

struct Condition {
  const char* name;
  EngineConfig config;
  int threads = 1;
};

TEST_P(EngineExact, AnswersDoNotDependOnTheEngine) {
  const std::vector<Condition> conditions = {
      {"whole prompts at once",
       {.max_sequences = 64, .max_batch_tokens = 512, .page_size = 16, .max_model_len = kMaxLen}},
      {"two threads",
       {.max_sequences = 64, .max_batch_tokens = 512, .page_size = 16, .max_model_len = kMaxLen},
       2},
      {"three threads, small pages",
       {.max_sequences = 20, .max_batch_tokens = 64, .page_size = 3, .max_model_len = kMaxLen},
       3},
      {"one token a forward",
       {.max_sequences = 4, .max_batch_tokens = 1, .page_size = 8, .max_model_len = kMaxLen}},
      {"three tokens a forward",
       {.max_sequences = 7, .max_batch_tokens = 3, .page_size = 5, .max_model_len = kMaxLen}},
      {"sixteen tokens a forward",
       {.max_sequences = 9, .max_batch_tokens = 16, .page_size = 1, .max_model_len = kMaxLen}},
      {"one at a time",
       {.max_sequences = 1, .max_batch_tokens = 64, .page_size = 64, .max_model_len = kMaxLen}},
      {"few pages",
       {.max_sequences = 16,
        .max_batch_tokens = 32,
        .page_size = 4,
        .num_pages = 14,
        .max_model_len = kMaxLen}},
      {"fewest pages",
       {.max_sequences = 16,
        .max_batch_tokens = 24,
        .page_size = 2,
        .num_pages = 20,
        .max_model_len = kMaxLen}},
  };
  std::vector<GroupRequest> requests = random_requests(10);
  // Long answers of one group, which small caches cannot hold together.
  requests[4].prompt.resize(std::min<std::size_t>(requests[4].prompt.size(), 8));
  requests[4].n = 4;
  requests[4].seeds = {rng_.next_u64(), rng_.next_u64(), rng_.next_u64(), rng_.next_u64()};
  requests[4].max_tokens = 30;
  requests[4].min_tokens = 30;
  const std::map<Key, Answer> expected = naive(requests);
  std::int64_t preemptions = 0;
  for (const Condition& condition : conditions) {
    TinyEngine tiny(model_, condition.config, condition.threads);
    for (const GroupRequest& request : requests) tiny.engine->submit(request);
    expect_answers(tiny.engine->run(), expected, condition.name);
    if (HasFatalFailure()) return;
    preemptions += tiny.engine->stats().preemptions;

    // Again, and now the prefix index knows the prompts.
    const std::int64_t cached = tiny.engine->stats().cached_tokens;
    for (const GroupRequest& request : requests) tiny.engine->submit(request);
    expect_answers(tiny.engine->run(), expected, fmt::format("{}, second time", condition.name));
    if (HasFatalFailure()) return;
    if (condition.config.num_pages == 0 && condition.config.page_size == 1) {
      EXPECT_GT(tiny.engine->stats().cached_tokens, cached);
    }
  }
  EXPECT_GT(preemptions, 0);
}

// Requests come and go at random moments; some are aborted.
TEST_P(EngineExact, RandomArrivalsAndAborts) {
  const std::vector<GroupRequest> requests = random_requests(16);
  const std::map<Key, Answer> expected = naive(requests);
  TinyEngine tiny(model_, {.max_sequences = 6,
                           .max_batch_tokens = 20,
                           .page_size = 4,
                           .num_pages = 24,
                           .max_model_len = kMaxLen});
  std::map<Key, SampledSequence> got;
  std::size_t next = 0;
  std::map<std::int64_t, bool> aborted;
  while (next < requests.size() || !tiny.engine->idle()) {
    if (next < requests.size() && rng_.below(3) == 0) tiny.engine->submit(requests[next++]);
    if (next > 0 && rng_.below(25) == 0) {
      const std::int64_t victim = requests[rng_.below(next)].id;
      tiny.engine->abort(victim);
      aborted[victim] = true;
    }
    for (SampledSequence& sequence : tiny.engine->step()) {
      const Key key{sequence.group, sequence.sample};
      ASSERT_FALSE(got.contains(key)) << "returned twice";
      got[key] = std::move(sequence);
    }
  }
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [key, sequence] : got) {
    const std::string where = fmt::format("group {} sample {}, seed {}", key.first, key.second, rng_.seed());
    if (sequence.finish != FinishReason::kAborted) {
      expect_same(answer_of(sequence), expected.at(key), where);
      continue;
    }
    // What an aborted sequence has is the beginning of its answer.
    EXPECT_TRUE(aborted[key.first]);
    Answer beginning = expected.at(key);
    ASSERT_LE(sequence.ids.size(), beginning.ids.size()) << where;
    beginning.ids.resize(sequence.ids.size());
    beginning.logprobs.resize(sequence.ids.size());
    beginning.finish = FinishReason::kAborted;
    expect_same(answer_of(sequence), beginning, where);
  }
}

// The point of exact mode: the trainer computes the probability that the engine sampled with.
TEST_P(EngineExact, LogprobsAreTheTrainers) {
  std::vector<GroupRequest> requests = random_requests(12);
  std::map<std::int64_t, const GroupRequest*> by_id;
  for (GroupRequest& request : requests) {
    request.sampling = {.temperature = 0.4F + rng_.uniform()};
    request.min_tokens = 0;
    request.max_tokens = 24;
    request.n = 3;
    request.seeds = {rng_.next_u64(), rng_.next_u64(), rng_.next_u64()};
    require_trainable(request);
    by_id[request.id] = &request;
  }
  TinyEngine tiny(model_,
                  {.max_sequences = 10,
                   .max_batch_tokens = 24,
                   .page_size = 4,
                   .num_pages = 40,
                   .max_model_len = kMaxLen},
                  2);
  for (const GroupRequest& request : requests) tiny.engine->submit(request);
  std::int64_t tokens = 0;
  for (const SampledSequence& sequence : tiny.engine->run()) {
    const GroupRequest& request = *by_id.at(sequence.group);
    Answer trainer = answer_of(sequence);
    trainer.logprobs = model_.trainer_logprobs(request.prompt, sequence.ids, request.sampling.temperature);
    expect_same(answer_of(sequence), trainer, fmt::format("group {}, seed {}", sequence.group, rng_.seed()));
    tokens += static_cast<std::int64_t>(sequence.ids.size());
  }
  EXPECT_GE(tokens, 36);
}

// New weights in the middle: each sequence goes on as if its tokens so far had been a prompt under the new
// weights.
TEST_P(EngineExact, NewWeightsContinueEveryTextExactly) {
  std::vector<GroupRequest> requests = random_requests(8);
  for (GroupRequest& request : requests) {
    request.stop_strings.clear();
    request.stop_ids.clear();
    request.sampling = {.temperature = 1.0F};
    request.min_tokens = 0;
    request.max_tokens = 12;
  }
  TinyEngine tiny(model_,
                  {.max_sequences = 8, .max_batch_tokens = 16, .page_size = 4, .max_model_len = kMaxLen});
  for (const GroupRequest& request : requests) tiny.engine->submit(request);
  const std::vector<std::uint64_t> weight_seeds{rng_.next_u64(), rng_.next_u64(), rng_.next_u64()};
  std::vector<SampledSequence> got;
  std::int64_t steps = 0;
  std::int64_t version = 0;
  model_.randomise(weight_seeds[0]);
  tiny.engine->set_version(0);
  while (!tiny.engine->idle()) {
    if (++steps % 7 == 0 && version < 2) {
      model_.randomise(weight_seeds[static_cast<std::size_t>(++version)]);
      tiny.engine->set_version(version);
    }
    for (SampledSequence& sequence : tiny.engine->step()) got.push_back(std::move(sequence));
  }
  EXPECT_EQ(version, 2);
  EXPECT_GT(tiny.engine->stats().recomputed_sequences, 0);

  // Each token again, under the weights of its version.
  std::map<std::int64_t, std::int64_t> of_version;
  for (std::int64_t v = 0; v <= version; ++v) {
    model_.randomise(weight_seeds[static_cast<std::size_t>(v)]);
    for (const SampledSequence& sequence : got) {
      const GroupRequest& request = requests[static_cast<std::size_t>(sequence.group)];
      const std::vector<float> trainer = model_.trainer_logprobs(request.prompt, sequence.ids, 1.0F);
      ASSERT_TRUE(std::ranges::is_sorted(sequence.versions));
      for (std::size_t i = 0; i < trainer.size(); ++i) {
        if (sequence.versions[i] != v) continue;
        ASSERT_EQ(trainer[i], sequence.logprobs[i])
            << "token " << i << ", version " << v << ", seed " << rng_.seed();
        ++of_version[v];
      }
    }
  }
  for (std::int64_t v = 0; v <= version; ++v) EXPECT_GT(of_version[v], 0);
}

std::string kind_name(const ::testing::TestParamInfo<TinyKind>& kind) {
  switch (kind.param) {
    case TinyKind::kQwen3:
      return "Qwen3";
    case TinyKind::kQwen2:
      return "Qwen2";
    case TinyKind::kLlama:
      return "Llama";
  }
  return "?";
}

INSTANTIATE_TEST_SUITE_P(Families, EngineExact,
                         ::testing::Values(TinyKind::kQwen3, TinyKind::kQwen2, TinyKind::kLlama), kind_name);

}  // namespace
}  // namespace rlcpp::rollout
