// Adapters that requests choose: a mixed batch gives each request what it gets alone, to the last bit; an
// adapter is replaced in place or not at all.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "rollout/tiny_adapter.h"
#include "rollout/tiny_model.h"

namespace rlcpp::rollout {
namespace {

namespace fs = std::filesystem;
using Key = std::pair<std::int64_t, std::int32_t>;  // group, sample

constexpr std::int64_t kMaxLen = 40, kMostRank = 6;

// The model with an adapter that a trainer has: the oracle of what a request of that adapter gets.
struct Adapted {
  Adapted(const TinyModel& base, std::uint64_t weights, const model::AdapterConfig& adapter,
          std::uint64_t seed)
      : model(with(base.config, adapter), weights), own(model.ctx, model.config, seed) {
    model.weights.adapters = own.values;
  }
  static model::ModelConfig with(model::ModelConfig config, const model::AdapterConfig& adapter) {
    config.adapters = adapter;
    return config;
  }
  TinyModel model;
  TinyAdapter own;
};

class EngineAdapters : public ::testing::TestWithParam<TinyKind> {
 protected:
  EngineAdapters() : rng_(test::fresh_seed()), seed_(rng_.next_u64()) {
    base_ = std::make_unique<TinyModel>(tiny_config(GetParam(), rng_), seed_);
  }

  std::unique_ptr<Adapted> adapter() {
    return std::make_unique<Adapted>(*base_, seed_, random_adapter(rng_, kMostRank), rng_.next_u64());
  }
  std::string directory(const std::string& name) const { return (fs::path(dir_ / name)).string(); }

  static EngineConfig config(std::int64_t max_loras) {
    EngineConfig c{.max_sequences = 16, .max_batch_tokens = 64, .page_size = 4, .max_model_len = kMaxLen};
    c.max_loras = max_loras;
    c.max_lora_rank = kMostRank;
    return c;
  }
  GroupRequest request(std::int64_t id, const std::string& name) {
    GroupRequest r = random_request(base_->config, kMaxLen, id, rng_);
    r.adapter = name;
    return r;
  }
  void expect_answer(const SampledSequence& sequence, const GroupRequest& asked, TinyModel& oracle,
                     const std::string& where) {
    expect_same(
        answer_of(sequence), oracle.naive(asked, sequence.sample, kMaxLen),
        fmt::format("{}, group {} sample {}, seed {}", where, sequence.group, sequence.sample, rng_.seed()));
  }
  // Refused with `what`, and "one" goes on as `oracle` says.
  void expect_refused(Engine& engine, const std::string& name, const std::string& from,
                      const std::string& what, TinyModel& oracle) {
    try {
      engine.load_adapter(name, from);
      ADD_FAILURE() << "not refused: " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.render();
      EXPECT_NE(error.render().find(what), std::string::npos) << error.render();
    }
    const GroupRequest r = request(1000, "one");
    engine.submit(r);
    for (const SampledSequence& sequence : engine.run()) expect_answer(sequence, r, oracle, what);
  }

  test::TemporaryDirectory dir_;
  Rng rng_;
  std::uint64_t seed_;
  std::unique_ptr<TinyModel> base_;
};

TEST_P(EngineAdapters, MixedBatchIsEachRequestAlone) {
  const auto one = adapter(), two = adapter();
  const std::map<std::string, TinyModel*> oracles = {
      {"", base_.get()}, {"one", &one->model}, {"two", &two->model}};
  const std::string first = one->own.write(directory("one")), second = two->own.write_below(directory("two"));
  std::vector<GroupRequest> requests;
  for (int i = 0; i < 12; ++i) {
    GroupRequest r = request(i, i % 3 == 0 ? "" : i % 3 == 1 ? "one" : "two");
    // Every prompt three times: pages of one adapter are not those of another.
    if (i % 3 > 0) r.prompt = requests[static_cast<std::size_t>(i - i % 3)].prompt;
    requests.push_back(std::move(r));
  }
  // A group that has no room in few pages. It comes first, so its four members grow side by side, and some of
  // them are preempted whatever the others ask for.
  GroupRequest& large = requests.back();
  large.n = 4;
  large.seeds = {rng_.next_u64(), rng_.next_u64(), rng_.next_u64(), rng_.next_u64()};
  large.prompt.resize(std::min<std::size_t>(large.prompt.size(), 6));
  large.max_tokens = large.min_tokens = 30;
  large.sampling = {.temperature = 1.0F};  // the same tokens would share their pages
  std::map<Key, Answer> expected;
  for (const GroupRequest& r : requests) {
    for (std::int32_t i = 0; i < r.n; ++i) expected[{r.id, i}] = oracles.at(r.adapter)->naive(r, i, kMaxLen);
  }
  struct Condition {
    const char* name;
    std::int64_t max_sequences, max_batch_tokens, page_size, num_pages;
    int threads;
  };
  std::int64_t preemptions = 0;
  for (const Condition& c : {Condition{"all at once", 64, 512, 16, 0, 2}, Condition{"chunks", 8, 7, 4, 0, 1},
                             Condition{"few pages", 10, 24, 4, 12, 1}, Condition{"one", 1, 64, 4, 0, 1}}) {
    EngineConfig numbers = config(2);
    numbers.max_sequences = c.max_sequences;
    numbers.max_batch_tokens = c.max_batch_tokens;
    numbers.page_size = c.page_size;
    numbers.num_pages = c.num_pages;
    TinyEngine tiny(*base_, numbers, c.threads);
    tiny.engine->load_adapter("two", second);
    tiny.engine->load_adapter("one", first);
    for (int round = 0; round < 2; ++round) {  // the second one finds pages
      for (auto r = requests.rbegin(); r != requests.rend(); ++r) tiny.engine->submit(*r);
      std::size_t got = 0;
      for (const SampledSequence& sequence : tiny.engine->run()) {
        expect_same(answer_of(sequence), expected.at({sequence.group, sequence.sample}),
                    fmt::format("{}, group {} sample {}, seed {}", c.name, sequence.group, sequence.sample,
                                rng_.seed()));
        ++got;
      }
      ASSERT_EQ(got, expected.size());
      if (HasFatalFailure()) return;
    }
    preemptions += tiny.engine->stats().preemptions;
  }
  EXPECT_GT(preemptions, 0);
}

// The weights have an adapter of their own, which a trainer trains: it serves who names none.
TEST_P(EngineAdapters, StandBesideTheTrainersOwn) {
  const auto trained = adapter(), other = adapter();
  TinyEngine tiny(trained->model, config(1));
  tiny.engine->load_adapter("other", other->own.write(directory("other")));
  std::map<std::int64_t, GroupRequest> requests;
  for (std::int64_t i = 0; i < 6; ++i) {
    requests[i] = request(i, i % 2 == 0 ? "" : "other");
    tiny.engine->submit(requests[i]);
  }
  for (const SampledSequence& sequence : tiny.engine->run()) {
    expect_answer(sequence, requests[sequence.group], sequence.group % 2 == 0 ? trained->model : other->model,
                  "beside");
    if (HasFatalFailure()) return;
  }
}

TEST_P(EngineAdapters, ReplacedInPlaceTakesEffectAtOnce) {
  const auto one = adapter(), two = adapter(), next = adapter();
  EngineConfig numbers = config(2);
  numbers.look_ahead = false;  // tokens are counted when the adapter changes
  TinyEngine tiny(*base_, numbers);
  tiny.engine->load_adapter("one", one->own.write(directory("one")));
  tiny.engine->load_adapter("two", two->own.write(directory("two")));
  std::map<std::int64_t, GroupRequest> requests;
  for (std::int64_t i = 0; i < 4; ++i) {
    GroupRequest r = request(i, i < 2 ? "one" : i == 2 ? "two" : "");
    r.prompt.resize(4, 1);
    r.stop_ids.clear();
    r.stop_strings.clear();
    r.min_tokens = 0;
    r.max_tokens = 16;
    r.sampling = {.temperature = 1.0F};
    requests[i] = r;
    tiny.engine->submit(r);
  }
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(tiny.engine->step().empty());
  tiny.engine->load_adapter("one", next->own.write(directory("next")));
  EXPECT_EQ(tiny.engine->adapters(), (std::vector<std::string>{"one", "two"}));
  std::int64_t reading = 0;
  for (std::int64_t i = 0; i < 2; ++i) reading += requests[i].n;
  EXPECT_EQ(tiny.engine->stats().recomputed_sequences, reading);
  for (const SampledSequence& sequence : tiny.engine->run()) {
    const GroupRequest& r = requests[sequence.group];
    if (sequence.group > 1) {  // nothing happened to it
      expect_answer(sequence, r, sequence.group == 2 ? two->model : *base_, "not replaced");
      continue;
    }
    // Six tokens of the old adapter, then each as if its text had been a prompt of the new one.
    const std::vector<float> before = one->model.trainer_logprobs(r.prompt, sequence.ids, 1.0F),
                             after = next->model.trainer_logprobs(r.prompt, sequence.ids, 1.0F);
    ASSERT_EQ(sequence.ids.size(), 16U);
    for (std::size_t i = 0; i < 16; ++i)
      ASSERT_EQ(sequence.logprobs[i], i < 6 ? before[i] : after[i]) << i << ", seed " << rng_.seed();
    if (HasFatalFailure()) return;
  }
  // No page of the old one is found.
  tiny.engine->submit(requests[0]);
  for (const SampledSequence& sequence : tiny.engine->run())
    expect_answer(sequence, requests[0], next->model, "afterwards");
}

TEST_P(EngineAdapters, WhatIsWrongIsRefusedAndTheOldOneServes) {
  const auto one = adapter();
  TinyEngine tiny(*base_, config(2));
  Engine& engine = *tiny.engine;
  engine.load_adapter("one", one->own.write(directory("one")));
  // A rank too high.
  model::AdapterConfig high = random_adapter(rng_, kMostRank);
  high.rank = kMostRank + 1;
  const Adapted higher(*base_, seed_, high, 1);
  expect_refused(engine, "one", higher.own.write(directory("high")), "max_lora_rank", one->model);
  // Of another model.
  TinyModel larger(
      [&] {
        model::ModelConfig c = base_->config;
        c.intermediate_size += 8;
        c.num_layers = 3;
        return c;
      }(),
      1);
  const Adapted foreign(larger, 1, random_adapter(rng_, kMostRank), 1);
  expect_refused(engine, "one", foreign.own.write(directory("foreign")), "model", one->model);
  if (HasFatalFailure()) return;
  // A byte that changed, in a directory with a manifest and in one below another.
  for (const std::string& damaged :
       {adapter()->own.write(directory("damaged")), adapter()->own.write_below(directory("below"))}) {
    const std::string file = damaged + "/adapter_model.safetensors";
    std::string bytes = durable::read_file(file);
    bytes[bytes.size() - 2] = static_cast<char>(bytes[bytes.size() - 2] ^ 1);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    expect_refused(engine, "one", damaged, "checksum", one->model);
  }
  // Numbers that are none; a file cut short; nothing there.
  const auto broken = adapter();
  model::flat_adapters(broken->own.config, broken->own.masters)[0].f32()[0] =
      std::numeric_limits<float>::infinity();
  expect_refused(engine, "one", broken->own.write(directory("infinite")), "not finite", one->model);
  const std::string cut = adapter()->own.write(directory("cut"));
  fs::remove(cut + "/manifest.json");
  fs::resize_file(cut + "/adapter_model.safetensors", fs::file_size(cut + "/adapter_model.safetensors") - 4);
  expect_refused(engine, "one", cut, "adapter_model.safetensors", one->model);
  expect_refused(engine, "one", directory("nowhere"), "nowhere", one->model);
}

TEST_P(EngineAdapters, PlacesAndNames) {
  const auto one = adapter(), two = adapter();
  const std::string first = one->own.write(directory("one")), second = two->own.write(directory("two"));
  TinyEngine tiny(*base_, config(1));
  Engine& engine = *tiny.engine;
  engine.load_adapter("one", first);
  expect_refused(engine, "two", second, "max_loras", one->model);
  EXPECT_THROW(engine.load_adapter("", second), Error);
  EXPECT_THROW(engine.submit(request(1, "two")), Error);
  engine.submit(request(1, "one"));
  EXPECT_THROW(engine.unload_adapter("one"), Error);
  EXPECT_THROW(engine.unload_adapter("two"), Error);
  engine.run();
  engine.unload_adapter("one");
  EXPECT_TRUE(engine.adapters().empty());
  EXPECT_THROW(engine.submit(request(2, "one")), Error);
  engine.load_adapter("two", second);
  const GroupRequest r = request(3, "two");
  engine.submit(r);
  for (const SampledSequence& sequence : engine.run()) expect_answer(sequence, r, two->model, "second");
  TinyEngine none(*base_, config(0));
  EXPECT_THROW(none.engine->load_adapter("one", first), Error);
  EXPECT_THROW(none.engine->submit(request(1, "one")), Error);
}

// The policies of new weights hold for one adapter: who reads another is left alone.
TEST_P(EngineAdapters, ReplacingFollowsThePolicy) {
  const auto one = adapter(), next = adapter();
  const std::string first = one->own.write(directory("one")), second = next->own.write(directory("next"));
  for (const WeightChange change : {WeightChange::kKeep, WeightChange::kDrain, WeightChange::kAbort}) {
    EngineConfig numbers = config(1);
    numbers.on_new_weights = change;
    numbers.look_ahead = false;  // tokens are counted when the adapter changes
    TinyEngine tiny(*base_, numbers);
    Engine& engine = *tiny.engine;
    engine.load_adapter("one", first);
    GroupRequest mine = request(1, "one"), other = request(2, "");
    for (GroupRequest* r : {&mine, &other}) {
      r->prompt.resize(4, 1);
      r->stop_ids.clear();
      r->stop_strings.clear();
      r->min_tokens = 0;
      r->max_tokens = 10;
      engine.submit(*r);
    }
    for (int i = 0; i < 3; ++i) engine.step();
    std::vector<SampledSequence> got;
    if (change == WeightChange::kDrain) {
      EXPECT_THROW(engine.load_adapter("one", second), Error);
      engine.hold_for_weights();
      while (!engine.ready_for_weights()) {
        for (SampledSequence& sequence : engine.step()) got.push_back(std::move(sequence));
      }
    }
    engine.load_adapter("one", second);
    for (SampledSequence& sequence : engine.run()) got.push_back(std::move(sequence));
    ASSERT_EQ(got.size(), static_cast<std::size_t>(mine.n + other.n));
    for (const SampledSequence& sequence : got) {
      if (sequence.group == 2) {
        expect_answer(sequence, other, *base_, std::string(name_of(change)));
      } else if (change == WeightChange::kDrain) {
        expect_answer(sequence, mine, one->model, "drain");
      } else {
        EXPECT_EQ(sequence.finish == FinishReason::kAborted, change == WeightChange::kAbort);
        EXPECT_EQ(sequence.ids.size(), change == WeightChange::kAbort ? 3U : 10U);
      }
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(engine.stats().kept_sequences, change == WeightChange::kKeep ? mine.n : 0);
    GroupRequest again = mine;
    again.id = 3;
    engine.submit(again);
    for (const SampledSequence& sequence : engine.run())
      expect_answer(sequence, again, next->model, "afterwards");
  }
}

std::string kind_name(const ::testing::TestParamInfo<TinyKind>& kind) {
  const char* const names[] = {"Qwen3", "Qwen2", "Llama"};
  return names[static_cast<std::size_t>(kind.param)];
}
INSTANTIATE_TEST_SUITE_P(Families, EngineAdapters,
                         ::testing::Values(TinyKind::kQwen3, TinyKind::kQwen2, TinyKind::kLlama), kind_name);

}  // namespace
}  // namespace rlcpp::rollout
