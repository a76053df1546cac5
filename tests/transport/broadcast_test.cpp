// Weights over a communicator: taken whole or not at all, on the CPU between threads and, where there are two
// GPUs, over NCCL.
#include "transport/broadcast.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <mutex>

#include "base/failpoint.h"
#include "dist/ranks.h"
#include "rollout/tiny_model.h"
#include "transport/world.h"

namespace rlcpp::transport {
namespace {

using dist::Communicator;

model::ModelConfig small_config(std::int64_t intermediate = 40) {
  model::ModelConfig config = Policy().config;
  config.intermediate_size = intermediate;
  return config;
}

int gpus() {
  static const int count = [] {
    std::string why;
    return static_cast<int>(cuda::gpus(&why).size());
  }();
  return count;
}

// One rank: a model, memory for another of its shape, and the broadcast.
struct Side {
  Side(const model::ModelConfig& model, Communicator& communicator, int root)
      : config(model), pool(2), ctx(ops::make_context(communicator.device(), pool)) {
    MemoryPlan plan;
    const DType type = ctx.compute_type();
    const auto a = model::plan_weights(config, plan, MemoryUse::kWeights, "live.", type);
    const auto b = model::plan_weights(config, plan, MemoryUse::kWeights, "spare.", type);
    const auto regions = WeightBroadcast::plan(model::parameter_list(config).size(), plan);
    arena = std::make_unique<Arena>(plan, ctx.device);
    arena->poison_all();
    live = named_weights(config, model::make_weight_set(config, *arena, a));
    spare = named_weights(config, model::make_weight_set(config, *arena, b));
    broadcast = std::make_unique<WeightBroadcast>(ctx, communicator, root, *arena, regions);
  }
  void fill(std::uint64_t seed) {
    Rng rng(seed);
    for (const NamedTensor& t : live) {
      std::vector<float> values(static_cast<std::size_t>(t.tensor.size()));
      for (float& value : values) value = rng.normal();
      from_floats(t.tensor, values);
    }
  }
  std::vector<float> values() const {
    std::vector<float> all;
    for (const NamedTensor& t : live) {
      const std::vector<float> some = to_floats(t.tensor);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  model::ModelConfig config;
  ThreadPool pool;
  ops::Context ctx;
  std::unique_ptr<Arena> arena;
  std::vector<NamedTensor> live, spare;
  std::unique_ptr<WeightBroadcast> broadcast;
};

// What `body` threw: "" if nothing; a refusal (exit code 2) or a fault of the communicator (1) as its text.
std::string thrown(ExitCode expected, const std::function<void()>& body) {
  try {
    body();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), expected) << error.render();
    return error.render();
  }
}

class Broadcast : public ::testing::TestWithParam<DeviceKind> {
 protected:
  void SetUp() override {
    if (GetParam() == DeviceKind::kCpu || gpus() >= 2) return;
    const char* expected = std::getenv("RLCPP_TEST_GPU");
    if (gpus() == 0 && expected != nullptr && std::string(expected) == "1") FAIL() << "no GPU was found";
    GTEST_SKIP() << "two GPUs are needed, found " << gpus();
  }
  void TearDown() override { failpoint::disarm_all(); }

  bool on_gpus() const { return GetParam() == DeviceKind::kCuda; }
  int ranks() const { return on_gpus() ? 2 : 3; }
  dist::WorldOptions options(dist::Deadlines limits = dist::long_deadlines()) const {
    dist::WorldOptions out = dist::threads_world(ranks(), limits);
    if (!on_gpus()) return out;
    out.device = DeviceKind::kCuda;
    out.launch.devices = {0, 1};
    return out;
  }
  // On every rank; returns what each threw.
  std::vector<std::string> run(const std::function<void(Communicator&)>& body,
                               dist::Deadlines limits = dist::long_deadlines()) {
    dist::World world(options(limits));
    return dist::run_ranks(world, body);
  }
  static void expect_no_errors(const std::vector<std::string>& errors) {
    for (const std::string& error : errors) EXPECT_EQ(error, "");
  }
  static std::vector<float> sent_by(const model::ModelConfig& config, std::uint64_t seed, Communicator& c) {
    Side same(config, c, 0);
    same.fill(seed);
    return same.values();
  }
};

INSTANTIATE_TEST_SUITE_P(, Broadcast, ::testing::Values(DeviceKind::kCpu, DeviceKind::kCuda),
                         [](const auto& kind) {
                           return kind.param == DeviceKind::kCpu ? "Threads" : "Nccl";
                         });

TEST_P(Broadcast, EveryRankHasTheSendersBits) {
  const std::uint64_t seed = test::fresh_seed();
  const int root = static_cast<int>(seed % 2);
  std::mutex mutex;
  std::vector<Publication> publications;
  expect_no_errors(run([&](Communicator& c) {
    Side side(small_config(), c, root);
    for (std::int64_t step = 3; step < 6; ++step) {
      const std::uint64_t of_step = seed + static_cast<std::uint64_t>(step);
      const std::vector<float> expected = sent_by(side.config, of_step, c);
      Publication out;
      if (c.rank() == root) {
        side.fill(of_step);
        out = side.broadcast->send("a run", step, side.live);
      } else {
        out = side.broadcast->receive(step, side.spare, side.live);
        EXPECT_GT(side.broadcast->times().seconds, 0);
      }
      EXPECT_EQ(side.values(), expected);
      EXPECT_EQ(out.run, "a run");
      EXPECT_EQ(out.step, step);
      EXPECT_GT(side.broadcast->times().bytes, 0U);
      const std::lock_guard lock(mutex);
      publications.push_back(out);
    }
  }));
  for (const Publication& a : publications) {
    for (const Publication& b : publications) EXPECT_EQ(a.step == b.step, a.fingerprint == b.fingerprint);
  }
}

// Whoever has another model refuses for all, nothing is changed, and the next publication is taken.
TEST_P(Broadcast, AnotherShapeIsRefusedByAllRanks) {
  const std::uint64_t seed = test::fresh_seed();
  expect_no_errors(run([&](Communicator& c) {
    Side right(small_config(), c, 0), wrong(small_config(48), c, 0);
    right.fill(seed + static_cast<std::uint64_t>(c.rank()));
    wrong.fill(seed);
    Side& side = c.rank() == 1 ? wrong : right;
    const std::vector<float> before = side.values();
    const std::string error = thrown(ExitCode::kBadInput, [&] {
      if (c.rank() == 0) {
        side.broadcast->send("run", 7, side.live);
      } else {
        side.broadcast->receive(0, side.spare, side.live);
      }
    });
    for (const char* part : {"rank 1 refused the weights of step 7", "go on serving", "layers.0.gate_up",
                             "[80,24]", "[96,24] ", "help:"})
      EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
    EXPECT_EQ(side.values(), before);
    if (c.rank() == 0) {
      right.broadcast->send("run", 7, right.live);
    } else {
      right.broadcast->receive(0, right.spare, right.live);
    }
    EXPECT_EQ(right.values(), sent_by(right.config, seed, c));
  }));
}

TEST_P(Broadcast, AModelWithMoreLayersIsRefused) {
  expect_no_errors(run([&](Communicator& c) {
    model::ModelConfig config = small_config();
    if (c.rank() == 0) config.num_layers = 40;  // its manifest is longer than the others have room for
    Side side(config, c, 0);
    side.fill(5);
    const std::vector<float> before = side.values();
    const std::string error = thrown(ExitCode::kBadInput, [&] {
      if (c.rank() == 0) {
        side.broadcast->send("run", 1, side.live);
      } else {
        side.broadcast->receive(0, side.spare, side.live);
      }
    });
    EXPECT_NE(error.find("its manifest has"), std::string::npos) << error;
    EXPECT_EQ(side.values(), before);
  }));
}

TEST_P(Broadcast, OlderWeightsAreRefused) {
  expect_no_errors(run([&](Communicator& c) {
    Side side(small_config(), c, 0);
    side.fill(static_cast<std::uint64_t>(c.rank()));
    const std::vector<float> before = side.values();
    const std::string error = thrown(ExitCode::kBadInput, [&] {
      if (c.rank() == 0) {
        side.broadcast->send("run", 3, side.live);
      } else {
        side.broadcast->receive(4, side.spare, side.live);
      }
    });
    EXPECT_NE(error.find("the weights of step 4 serve already"), std::string::npos) << error;
    EXPECT_EQ(side.values(), before);
  }));
}

// One bit of what came to one rank: nobody switches.
TEST_P(Broadcast, AFlippedBitIsRefusedByAllRanks) {
  failpoint::arm("transport.broadcast.received=flip");
  const std::uint64_t seed = test::fresh_seed();
  expect_no_errors(run([&](Communicator& c) {
    Side side(small_config(), c, 0);
    side.fill(seed + static_cast<std::uint64_t>(c.rank()));
    const std::vector<float> before = side.values();
    const auto publish = [&] {
      if (c.rank() == 0) {
        side.broadcast->send("run", 2, side.live);
      } else {
        side.broadcast->receive(0, side.spare, side.live);
      }
    };
    const std::string error = thrown(ExitCode::kBadInput, publish);
    for (const char* part : {"refused the weights of step 2", "arrived with checksum", "final_norm"})
      EXPECT_NE(error.find(part), std::string::npos) << part << " in " << error;
    EXPECT_EQ(side.values(), before);
    publish();  // the point acts once
    EXPECT_EQ(side.values(), sent_by(side.config, seed, c));
  }));
}

// Weights that change behind the sender's checksums: what arrived is not what was announced.
TEST_P(Broadcast, WeightsThatChangeOnTheirWayAreRefused) {
  failpoint::arm("transport.broadcast.piece=flip");
  expect_no_errors(run([&](Communicator& c) {
    Side side(small_config(), c, 0);
    side.fill(static_cast<std::uint64_t>(c.rank()));
    const std::vector<float> before = side.values();
    const std::string error = thrown(ExitCode::kBadInput, [&] {
      if (c.rank() == 0) {
        side.broadcast->send("run", 2, side.live);
      } else {
        side.broadcast->receive(0, side.spare, side.live);
      }
    });
    EXPECT_NE(error.find("arrived with checksum"), std::string::npos) << error;
    if (c.rank() != 0) {
      EXPECT_EQ(side.values(), before);
    }
  }));
}

// The sender fails between two tensors: the others are told by the communicator, and keep what they have.
TEST_P(Broadcast, ASenderThatDiesHalfWayLeavesTheOldPolicy) {
  failpoint::arm("transport.broadcast.piece=error:6");
  const std::vector<std::string> errors = run(
      [&](Communicator& c) {
        Side side(small_config(), c, 0);
        side.fill(static_cast<std::uint64_t>(c.rank()));
        const std::vector<float> before = side.values();
        if (c.rank() == 0) {
          side.broadcast->send("run", 2, side.live);
          return;
        }
        const std::string error = thrown(ExitCode::kFailed, [&] {
          side.broadcast->receive(0, side.spare, side.live);
          ADD_FAILURE() << "a part of the weights was taken for all";
        });
        EXPECT_NE(error, "");
        EXPECT_EQ(side.values(), before);
      },
      dist::short_deadlines());
  EXPECT_NE(errors[0].find("transport.broadcast.piece"), std::string::npos) << errors[0];
}

// The engine of another rank answers with the policy that it has, while one is refused, and with the new one
// as soon as it is told.
TEST(BroadcastToAnEngine, ServesTheOldPolicyUntilTheNewOneIsWhole) {
  Rng rng(test::fresh_seed());
  const model::ModelConfig config = rollout::tiny_config(rollout::TinyKind::kQwen3, rng);
  const std::uint64_t old_seed = rng.next_u64(), new_seed = rng.next_u64();
  rollout::GroupRequest request;
  request.id = 1;
  for (int i = 0; i < 9; ++i) request.prompt.push_back(static_cast<std::int32_t>(rng.below(30)));
  request.n = 2;
  request.max_tokens = 12;
  request.seeds = {rng.next_u64(), rng.next_u64()};
  failpoint::arm("transport.broadcast.received=flip");
  dist::World world(dist::threads_world(2));
  const auto errors = dist::run_ranks(world, [&](Communicator& c) {
    rollout::TinyModel policy(config, c.rank() == 0 ? new_seed : old_seed);
    rollout::TinyModel fresh(config, new_seed), stale(config, old_seed);
    MemoryPlan plan;
    const auto spare_regions = model::plan_weights(config, plan, MemoryUse::kWeights, "spare.", DType::kF32);
    const auto regions = WeightBroadcast::plan(model::parameter_list(config).size(), plan);
    const Arena arena(plan, Device{});
    const std::vector<NamedTensor> live = named_weights(config, policy.weights);
    const std::vector<NamedTensor> spare =
        named_weights(config, model::make_weight_set(config, arena, spare_regions));
    WeightBroadcast broadcast(policy.ctx, c, 0, arena, regions);
    if (c.rank() == 0) {
      EXPECT_THROW(broadcast.send("run", 1, live), Error);
      broadcast.send("run", 1, live);
      return;
    }
    rollout::TinyEngine tiny(
        policy, {.max_sequences = 4, .max_batch_tokens = 32, .page_size = 4, .max_model_len = 40});
    const auto expect_answers_of = [&](rollout::TinyModel& model, std::int64_t version) {
      for (const rollout::SampledSequence& got : tiny.engine->run()) {
        rollout::expect_same(rollout::answer_of(got), model.naive(request, got.sample, 40), "answers");
        EXPECT_EQ(got.versions, std::vector<std::int64_t>(got.ids.size(), version));
      }
    };
    tiny.engine->submit(request);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(tiny.engine->step().empty());
    EXPECT_THROW(broadcast.receive(0, spare, live), Error);  // between two steps
    expect_answers_of(stale, 0);
    tiny.engine->hold_for_weights();
    ASSERT_TRUE(tiny.engine->ready_for_weights());
    const Publication published = broadcast.receive(0, spare, live);
    model::pack_all(policy.ctx, policy.packed, policy.weights);
    tiny.engine->set_version(published.step);
    ++request.id;
    tiny.engine->submit(request);
    expect_answers_of(fresh, 1);
  });
  failpoint::disarm_all();
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(BroadcastManifests, OnlyTheirOwnIsTaken) {
  std::vector<float> memory(64);
  const std::vector<NamedTensor> tensors = {{"a", Tensor(memory.data(), DType::kF32, {2, 3})},
                                            {"b", Tensor(memory.data(), DType::kBF16, {4})}};
  const std::vector<std::uint64_t> sums = {1, 0xFFFFFFFFFFFFFFFFULL};
  const std::string good = broadcast_manifest("run", 9, tensors, sums);
  BroadcastManifest manifest;
  EXPECT_EQ(read_broadcast_manifest(good, tensors, manifest), "");
  EXPECT_EQ(manifest.run, "run");
  EXPECT_EQ(manifest.step, 9);
  EXPECT_EQ(manifest.checksums, sums);
  const auto refused = [&](std::string from, const std::string& to, const std::string& says) {
    std::string text = good;
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const std::string wrong = read_broadcast_manifest(text, tensors, manifest);
    EXPECT_NE(wrong.find(says), std::string::npos) << wrong;
  };
  refused(R"("name":"a")", R"("name":"c")", "it has c where this model has a");
  refused("[2,3]", "[3,2]", "a is [3,2] f32 there and [2,3] f32 here");
  refused("bf16", "f16", "b is [4] f16 there");
  refused("ffffffffffffffff", "ffff", "\"ffff\" is none");
  refused("ffffffffffffffff", "fffffffffffffffg", "is none");
  refused("ffffffffffffffff", "0x0000000000000f", "is none");
  refused("ffffffffffffffff", "-000000000000001", "is none");
  refused(R"("step":9)", R"("step":"nine")", "cannot be read");
  refused(R"("step":9)", R"("step":9.5)", "cannot be read");
  refused(R"("step":9)", R"("step":9223372036854775807)", "is of step 9223372036854775807");
  refused(R"("step":9)", R"("step":-1)", "is of step -1");
  const std::string deep = std::string(300'000, '[') + std::string(300'000, ']');
  refused("[2,3]", deep, "nested 300003 levels deep");
  refused(R"("name":"b")", R"("more":)" + deep + R"(,"name":"b")", "nested 300003 levels deep");
  refused(R"({"run")", R"("run")", "cannot be read");
  refused(R"("tensors":[)", R"("tensors":7,"more":[)", "no list");
  std::vector<NamedTensor> fewer(tensors.begin(), tensors.begin() + 1), more = tensors;
  more.push_back(tensors[0]);
  EXPECT_EQ(read_broadcast_manifest(good, fewer, manifest), "it has 2 tensors, this model has 1");
  EXPECT_EQ(read_broadcast_manifest(good, more, manifest), "it has 2 tensors, this model has 3");
  EXPECT_NE(read_broadcast_manifest("", tensors, manifest), "");
  EXPECT_NE(read_broadcast_manifest("[]", tensors, manifest), "");
}

}  // namespace
}  // namespace rlcpp::transport
