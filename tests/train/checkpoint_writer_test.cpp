// Checkpoints written beside training: the state of their step whatever training does meanwhile.
#include "train/checkpoint_writer.h"

#include <sys/wait.h>

#include <chrono>
#include <filesystem>

#include "base/durable_fixture.h"
#include "base/durable_layers.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "run.h"
#include "train/checkpoint.h"

namespace rlcpp::train {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = hub::ImageWriter::kBlock;

std::vector<Device> devices() {
  std::vector<Device> all = {Device{}};
  std::string why;
  if (!cuda::gpus(&why).empty()) all.push_back({DeviceKind::kCuda, 0});
  return all;
}

std::string name_of_device(const ::testing::TestParamInfo<Device>& info) {
  return info.param.kind == DeviceKind::kCpu ? "Cpu" : "Cuda";
}

std::vector<hub::DirectoryImage> images_of(const std::string& root, Trainer& trainer) {
  CheckpointContent content;
  content.progress.step = trainer.steps_done();
  content.config_hash = "0badcafe";
  content.files.push_back({"orchestrator/buffer.jsonl", "{}\n"});
  std::vector<hub::DirectoryImage> images;
  images.push_back(checkpoint_image(root, trainer, content, "run").value());
  return images;
}

std::map<std::string, std::string> files_in(const std::string& path) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file())
      out[fs::relative(entry.path(), path).string()] = durable::read_file(entry.path().string());
  }
  return out;
}

class Writer : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override { durable::make_directories(durable::system_files(), root_); }
  void TearDown() override { failpoint::disarm_all(); }

  // A run whose update waits for `writer_`.
  std::unique_ptr<TinyRun> run(std::uint64_t seed) {
    TrainerOptions options = plain_options();
    options.before_update = [this] {
      if (writer_ != nullptr) waited_ += writer_->await_read();
    };
    return std::make_unique<TinyRun>(options, seed, 2, true, GetParam());
  }
  void make_writer(std::size_t blocks, durable::FileLayer& files = durable::system_files()) {
    writer_ = std::make_unique<CheckpointWriter>(files, GetParam(), blocks * kBlock, 2);
  }
  void start(TinyRun& run) {
    auto images = images_of(root_, *run.trainer);
    run.trainer->synchronize();
    writer_->start(run.trainer->steps_done(), std::move(images), "run");
  }

  test::FastDirectory dir_;
  std::string root_ = dir_ / "checkpoints";
  std::unique_ptr<CheckpointWriter> writer_;
  double waited_ = 0;
};

TEST_P(Writer, BackgroundAndForegroundWriteTheSameFiles) {
  Rng rng(test::fresh_seed());
  const auto it = run(3);
  it->trainer->step(random_rows(rng, 2));
  CheckpointContent content;
  content.progress.step = 1;
  content.config_hash = "0badcafe";
  content.files.push_back({"orchestrator/buffer.jsonl", "{}\n"});
  save_checkpoint(durable::system_files(), dir_ / "foreground", "run", *it->trainer, content);
  make_writer(1);
  start(*it);
  EXPECT_EQ(writer_->busy(), 1);
  const WriteOutcome outcome = writer_->wait();
  EXPECT_EQ(writer_->busy(), std::nullopt);
  EXPECT_FALSE(writer_->take().has_value());
  EXPECT_EQ(outcome.step, 1);
  EXPECT_EQ(outcome.committed, 1);
  EXPECT_FALSE(outcome.failure);
  EXPECT_LE(outcome.read_seconds, outcome.seconds);
  EXPECT_EQ(files_in(root_), files_in(dir_ / "foreground"));
}

// The writer is slow in each of its parts; steps are made meanwhile. What is saved is the state of the step,
// and the steps are those of a run that saved nothing.
TEST_P(Writer, TrainingGoesOnAndChangesNothingThatIsSaved) {
  for (const char* slow : {"checkpoint.read_block=delay(60):*", "checkpoint.write_block=delay(60):*",
                           "durable.sync=delay(60):*"}) {
    for (const std::size_t blocks : {std::size_t{1}, std::size_t{8}}) {
      const auto seed = test::fresh_seed();
      Rng rng(seed), rng_alone(seed);
      const auto it = run(seed), alone = run(seed);
      make_writer(blocks);
      std::vector<std::vector<float>> weights, second;
      failpoint::arm(slow);
      for (int step = 1; step <= 3; ++step) {
        it->trainer->step(random_rows(rng, 2));
        weights.push_back(it->all_weights());
        if (writer_->busy()) {
          EXPECT_FALSE(writer_->wait().failure);
        }
        start(*it);
      }
      it->trainer->step(random_rows(rng, 2));
      EXPECT_FALSE(writer_->wait().failure);
      failpoint::disarm_all();
      for (int step = 1; step <= 4; ++step) alone->trainer->step(random_rows(rng_alone, 2));
      EXPECT_EQ(it->all_weights(), alone->all_weights());
      for (int step = 1; step <= 3; ++step) {
        Rng again(seed);
        const auto restored = run(seed + 1);
        load_checkpoint(step_directory(root_, step), *restored->trainer);
        EXPECT_EQ(restored->all_weights(), weights[static_cast<std::size_t>(step - 1)])
            << slow << " " << step;
        for (int made = 1; made <= 4; ++made) {
          const auto rows = random_rows(again, 2);
          if (made > step) restored->trainer->step(rows);
        }
        EXPECT_EQ(restored->all_weights(), alone->all_weights()) << "from " << step;
      }
      if (std::string(slow).starts_with("checkpoint.read")) {
        EXPECT_GT(waited_, 0.05);
      }
      writer_.reset();
      fs::remove_all(root_);
      fs::create_directories(root_);
    }
  }
}

// With a ring for all, the update does not wait for the disk: the step is over while the writer sleeps.
TEST_P(Writer, ARoomyRingKeepsTheDiskAwayFromTheUpdate) {
  Rng rng(1);
  const auto it = run(1);
  it->trainer->step(random_rows(rng, 2));
  make_writer(8);
  failpoint::arm("durable.sync=hang:*");
  start(*it);
  it->trainer->step(random_rows(rng, 2));
  EXPECT_EQ(writer_->busy(), 1);
  EXPECT_FALSE(writer_->take().has_value());
  failpoint::disarm_all();
  EXPECT_FALSE(writer_->wait().failure);
  durable::verify_directory(step_directory(root_, 1));
}

TEST_P(Writer, AFullDiskIsReportedAndTheOlderCheckpointStays) {
  Rng rng(1);
  const auto it = run(1);
  it->trainer->step(random_rows(rng, 2));
  make_writer(8);
  start(*it);
  ASSERT_FALSE(writer_->wait().failure);
  it->trainer->step(random_rows(rng, 2));
  int calls = 0;
  {
    test::FaultyFiles count(1 << 30, ENOSPC, true);
    make_writer(8, count);
    start(*it);
    ASSERT_FALSE(writer_->wait().failure);
    calls = count.calls();
    fs::remove_all(step_directory(root_, 2));
  }
  EXPECT_GT(calls, 20);
  for (int nth = 1; nth < calls; ++nth) {
    test::FaultyFiles full(nth, ENOSPC, true);
    make_writer(nth % 2 == 0 ? 1 : 8, full);
    start(*it);
    writer_->await_read();  // returns: nobody waits for a writer that has given up
    const WriteOutcome outcome = writer_->wait();
    ASSERT_TRUE(outcome.failure) << nth;
    try {
      std::rethrow_exception(outcome.failure);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kEnvironment);
      EXPECT_NE(e.because().find("No space left"), std::string::npos) << e.because();
    }
    // The last calls are those after the commit: then the step is there, and whole.
    const auto newest = durable::newest_step(root_, nullptr);
    EXPECT_EQ(newest, outcome.committed == 1 || fs::exists(step_directory(root_, 2)) ? 2 : 1) << nth;
    writer_.reset();
    fs::remove_all(step_directory(root_, 2));
    durable::remove_leftovers(durable::system_files(), root_);
  }
  make_writer(8);
  start(*it);
  EXPECT_FALSE(writer_->wait().failure);
  EXPECT_EQ(durable::newest_step(root_, nullptr), 2);
}

TEST_P(Writer, KillsAtEveryCallLoseNothing) {
  if (GetParam().kind == DeviceKind::kCuda) GTEST_SKIP() << "a child of fork() cannot use the GPU";
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer starts no threads in a child of fork()";
#endif
  Rng rng(1);
  const auto it = run(1);
  it->trainer->step(random_rows(rng, 2));
  make_writer(8);
  start(*it);
  ASSERT_FALSE(writer_->wait().failure);
  writer_.reset();
  std::vector<std::vector<float>> weights = {it->all_weights()};
  it->trainer->step(random_rows(rng, 2));
  weights.push_back(it->all_weights());
  int killed = 0;
  for (const char* point :
       {"durable.call", "checkpoint.read_block", "checkpoint.write_block", "durable.write.half"}) {
    for (int nth = 1;; ++nth) {
      ASSERT_LT(nth, 200);
      const pid_t child = fork();
      if (child == 0) {
        try {
          failpoint::arm(std::string(point) + "=kill:" + std::to_string(nth));
          make_writer(1);
          start(*it);
          _exit(writer_->wait().failure ? 9 : 0);
        } catch (...) {
          _exit(8);
        }
      }
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      const bool clean = WIFEXITED(status);
      ASSERT_TRUE(clean ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
      killed += clean ? 0 : 1;
      const auto newest = durable::newest_step(root_, nullptr);
      ASSERT_TRUE(newest == 2 || (newest == 1 && !clean)) << point << nth;
      const auto restored = run(7);
      load_checkpoint(step_directory(root_, *newest), *restored->trainer);
      ASSERT_EQ(restored->all_weights(), weights[static_cast<std::size_t>(*newest - 1)]) << point << nth;
      durable::remove_leftovers(durable::system_files(), root_);
      fs::remove_all(step_directory(root_, 2));
      if (clean) break;
    }
  }
  EXPECT_GT(killed, 30);
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, Writer, ::testing::ValuesIn(devices()), name_of_device);

}  // namespace
}  // namespace rlcpp::train
