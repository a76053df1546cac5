#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/failpoint.h"
#include "transport/world.h"

namespace rlcpp::transport {
namespace {

namespace fs = std::filesystem;

class WeightFiles : public testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
  Publication publish(std::int64_t step, std::uint64_t seed, DType type = DType::kF32) {
    policy_.fill(seed);
    return FileWeightSender(durable::system_files(), root_, "run", type)
        .publish(policy_.config, policy_.own, step, step / 2);
  }
  Publication load(std::int64_t step) {
    return receiver_.load(step, policy_.config, policy_.spare, policy_.live, &policy_.pool);
  }
  std::vector<float> live() const { return Policy::values(policy_.live); }
  std::vector<float> own() const { return Policy::values(policy_.own); }
  std::string step(std::int64_t n) const { return root_ + "/step_" + std::to_string(n); }
  std::optional<Publication> await(std::int64_t first, std::int64_t last, WaitOptions wait) {
    wait.refused = [&](const std::string& text) { refused_.push_back(text); };
    return await_policy(receiver_, first, last, policy_.config, policy_.spare, policy_.live, &policy_.pool,
                        wait);
  }

  test::TemporaryDirectory dir_;
  std::string root_ = dir_ / "broadcasts";
  Policy policy_;
  FileWeightReceiver receiver_{root_};
  std::vector<std::string> refused_;
  std::uint64_t seed_ = test::fresh_seed() % 1000000;
};

TEST_F(WeightFiles, LoadedAreTheBitsThatWerePublished) {
  EXPECT_FALSE(receiver_.newest(0, 100).has_value());
  EXPECT_EQ(receiver_.newest_run(), "");
  const Publication made = publish(3, seed_);
  EXPECT_EQ(receiver_.newest(0, 100), 3);
  EXPECT_FALSE(receiver_.newest(4, 100).has_value());
  EXPECT_FALSE(receiver_.newest(0, 2).has_value());
  const Publication got = load(3);
  EXPECT_EQ(got.fingerprint, made.fingerprint);
  EXPECT_EQ(got.replay_from, 1);
  EXPECT_EQ(got.run, "run");
  EXPECT_EQ(receiver_.newest_run(), "run");
  EXPECT_EQ(live(), own());
  // bf16 rounds, and says so in the fingerprint; publishing again gives the same one.
  const Publication small = publish(4, seed_, DType::kBF16);
  EXPECT_NE(small.fingerprint, made.fingerprint);
  EXPECT_EQ(publish(4, seed_).fingerprint, made.fingerprint);
  EXPECT_NE(publish(4, seed_ + 1).fingerprint, made.fingerprint);
}

TEST_F(WeightFiles, WhatWasTamperedWithIsRefusedAndTheOldPolicyStays) {
  publish(1, seed_);
  load(1);
  const std::vector<float> old = live();
  const auto refusal = [&](const std::function<void()>& damage) {
    fs::remove_all(step(2));
    publish(2, seed_ + 1);
    damage();
    try {
      load(2);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
      EXPECT_EQ(live(), old) << e.render();
      return e.render();
    }
    return std::string("accepted");
  };
  const std::string weights = step(2) + "/model.safetensors";
  Rng rng(seed_);
  for (int i = 0; i < 40; ++i) {
    const std::string text = refusal([&] {
      std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(rng.below(fs::file_size(weights)));
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ (1 << rng.below(8))));
    });
    EXPECT_NE(text.find("model.safetensors"), std::string::npos) << text;
    EXPECT_NE(text.find("checksum"), std::string::npos) << text;
  }
  const auto has = [&](const char* part, const std::function<void()>& damage) {
    const std::string text = refusal(damage);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has("model.safetensors", [&] { fs::remove(weights); });
  has("model.safetensors", [&] { fs::resize_file(weights, fs::file_size(weights) - 1); });
  has("manifest.json", [&] { fs::remove(step(2) + "/manifest.json"); });
  has("STABLE cannot be read", [&] { std::ofstream(step(2) + "/STABLE") << ""; });
  has("it is of step 1",
      [&] { fs::copy_file(step(1) + "/STABLE", step(2) + "/STABLE", fs::copy_options::overwrite_existing); });
  // Whole files, but another policy's: a mixture nobody published.
  has("is not what its STABLE was written for", [&] {
    for (const char* name : {"/manifest.json", "/model.safetensors"})
      fs::copy_file(step(1) + name, step(2) + name, fs::copy_options::overwrite_existing);
  });
  // Numbers that are not finite are met while reading, after everything has verified.
  has("not finite", [&] {
    fs::remove_all(step(2));
    policy_.fill(seed_ + 1);
    const float nan = std::nanf("");
    copy(policy_.own.flat.back().view({policy_.own.flat.back().size()}).rows(0, 1),
         host_view(std::span(&nan, 1), DType::kF32));
    FileWeightSender(durable::system_files(), root_, "run", DType::kF32)
        .publish(policy_.config, policy_.own, 2, 0);
  });
  EXPECT_EQ(refusal([] {}), "accepted");
  EXPECT_NE(live(), old);
}

TEST_F(WeightFiles, AShardThatIsMissingIsRefused) {
  publish(1, seed_);
  load(1);
  const std::vector<float> old = live();
  policy_.fill(seed_ + 1);
  FileWeightSender sharded(durable::system_files(), root_, "run", DType::kF32, 4096);
  std::vector<std::string> shards;
  sharded.publish(policy_.config, policy_.own, 2, 0);
  for (const auto& entry : fs::directory_iterator(step(2))) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors")) shards.push_back(name);
  }
  ASSERT_GT(shards.size(), 3U);
  for (const std::string& shard : shards) {
    sharded.publish(policy_.config, policy_.own, 2, 0);
    fs::remove(step(2) + "/" + shard);
    try {
      load(2);
      ADD_FAILURE() << shard << " is not missed";
    } catch (const Error& e) {
      EXPECT_NE(e.render().find(shard), std::string::npos) << e.render();
    }
    EXPECT_EQ(live(), old);
  }
  sharded.publish(policy_.config, policy_.own, 2, 0);
  load(2);
  EXPECT_EQ(live(), own());
}

TEST_F(WeightFiles, AKilledSenderPublishesNothingOrAll) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer starts no threads in a child of fork()";
#endif
  publish(1, seed_);
  for (const auto& [point, there] : {std::pair{"durable.commit.before_rename", false},
                                     {"durable.commit.after_rename", false},
                                     {"transport.publish.before_stable", false},
                                     {"transport.publish.after_stable", true}}) {
    fs::remove_all(step(2));
    const pid_t pid = fork();
    if (pid == 0) {
      failpoint::arm(std::string(point) + "=kill");
      publish(2, seed_ + 1);
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << point;
    EXPECT_EQ(receiver_.newest(0, 9), there ? 2 : 1) << point;
    publish(2, seed_ + 1);  // whoever comes back publishes it again
    load(2);
    EXPECT_EQ(live(), own()) << point;
  }
}

TEST_F(WeightFiles, AWaitTakesTheNewestThatVerifiesAndNamesTheOthers) {
  for (std::int64_t n = 1; n <= 3; ++n) publish(n, seed_ + static_cast<std::uint64_t>(n));
  fs::resize_file(step(3) + "/model.safetensors", 100);
  const auto got = await(1, 3, short_wait());
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->step, 2);
  ASSERT_EQ(refused_.size(), 1U);
  EXPECT_NE(refused_[0].find("step_3/model.safetensors"), std::string::npos) << refused_[0];
  EXPECT_NE(refused_[0].find("has 100 bytes"), std::string::npos) << refused_[0];
  // Where nothing else will do, it waits until its sender has mended it, and says what it refused at the end.
  const std::vector<float> old = live();
  try {
    await(3, 3, short_wait(60));
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kFailed);
    for (const char* part : {"the trainer", "weights of step 3", "step_3/model.safetensors", "limit is"})
      EXPECT_NE(e.render().find(part), std::string::npos) << e.render();
  }
  EXPECT_EQ(live(), old);
  std::thread mend([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    publish(3, seed_ + 3);
  });
  const auto mended = await(3, 3, short_wait(20000));
  mend.join();
  ASSERT_TRUE(mended.has_value());
  EXPECT_EQ(live(), own());
  WaitOptions stops = short_wait(60000);
  stops.stop = [] { return true; };
  EXPECT_FALSE(await(9, 9, stops).has_value());
}

TEST_F(WeightFiles, OldAndLaterOnesAreRemoved) {
  for (std::int64_t n = 0; n <= 7; ++n) publish(n, seed_);
  FileWeightSender sender(durable::system_files(), root_, "run", DType::kF32);
  sender.remove_after(5);
  sender.prune_before(4, [](std::int64_t n) { return n == 2; });
  EXPECT_EQ(steps_in(root_), (std::vector<std::int64_t>{2, 4, 5}));
}

}  // namespace
}  // namespace rlcpp::transport
