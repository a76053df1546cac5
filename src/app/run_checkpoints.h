// When a run saves, what it keeps, and how it continues: the policy around train/checkpoint.h, for every
// producer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/run_config.h"
#include "app/run_directory.h"
#include "app/run_disk.h"
#include "base/error.h"
#include "hub/joint_directories.h"
#include "train/checkpoint.h"
#include "train/checkpoint_writer.h"

namespace rlcpp::app {

// The tensors of a trainer are read while they are written, so this object must be destroyed before the
// trainer's memory is: its destructor waits for the writer.
class Checkpoints {
 public:
  // `section` absent: nothing is ever saved. `tokenizer_dir` may be empty: exported weights then have no
  // tokenizer. `configuration`: what decides the result, as config::to_json gives it; kept in each
  // checkpoint.
  Checkpoints(const RunDirectory& run, const std::optional<CkptSection>& section, std::string configuration,
              std::string tokenizer_dir, Logger& log);

  bool enabled() const { return section_.has_value(); }
  bool due(std::int64_t step) const;  // a multiple of ckpt.interval

  // Makes the writer and its host memory, and says how much that is. `host_planned`: host memory that others
  // have planned but may not have touched yet. `steps_left`: that the run still makes, -1 if nobody knows.
  // Before save(), once. Throws environment_error if the disk has no room for what must be there at once, two
  // steps if more than one is saved.
  void prepare(const train::TrainerGroup& group, std::size_t host_planned, std::int64_t steps_left);

  // Begins to write checkpoints/step_N and, if configured, weights/step_N; when they are committed, what
  // keep_last and keep_interval give up is removed. If an earlier step is still being written, waits for that
  // first. The configuration is filled in here. Does nothing for a step that is already saved or under way.
  // With ckpt.background off, returns when all is done.
  void begin(const train::TrainerGroup& group, train::CheckpointContent content);
  // TrainerOptions::before_update, of every rank on its thread: returns when the writer has copied what the
  // optimizer is about to change.
  void await_read();
  // At a step boundary: reports what is done. Throws the error of the writer.
  void poll();
  // begin(), then waits until all is committed. Says in the log if that is long.
  void save(const train::TrainerGroup& group, train::CheckpointContent content);

  // The step that ckpt.resume_step means; nullopt: a fresh start. Throws bad_input if there is no such
  // checkpoint.
  std::optional<std::int64_t> resume_step();
  // Restores the trainer from `step`, or, with ckpt.resume_step -1, from the newest step whose checksums are
  // right, and says so; sets later steps of the directory aside, names the keys in which the configuration
  // differs. Throws bad_input if the checkpoint has no state of `producer` ("data" of "sft", ...), which
  // becomes `extra` of the result.
  train::Restored resume(std::int64_t step, const train::TrainerGroup& group, const std::string& producer,
                         const std::string& command);

  std::optional<std::int64_t> last_saved() const { return last_saved_; }
  // Directory of that checkpoint; empty if none.
  std::string last_directory() const;
  // Directory of the newest exported weights; empty if none.
  const std::string& weights_dir() const { return weights_dir_; }
  // time/save_ckpt: seconds that training waited for checkpoints since the last call.
  double take_stall() { return std::exchange(stall_, 0.0); }
  // time/ckpt_write: seconds that the writes reported since the last call took, beside training.
  double take_write() { return std::exchange(write_, 0.0); }

 private:
  // Loads *step, or with ckpt.resume_step -1 the newest before it that is sound; *step becomes that.
  train::Restored load(std::int64_t* step, const train::TrainerGroup& group);
  void report_changes(const std::string& checkpoint, const std::string& hash);
  // What there is to write for a step; notes in pending_ which directories that are.
  std::vector<hub::DirectoryImage> images_of(const train::TrainerGroup& group,
                                             train::CheckpointContent content);
  std::optional<hub::DirectoryImage> weights_image(const train::TrainerGroup& group, std::int64_t step);
  std::optional<std::int64_t> under_way() const;  // the step that is being written
  // Of several processes, in run_checkpoints_joint.cpp: their background writers store one checkpoint, and
  // what they have to tell each other passes at step boundaries, where all are.
  void start_joint(const train::TrainerGroup& group, std::int64_t step,
                   std::vector<hub::DirectoryImage> images);
  void poll_joint();
  void wait_joint();
  void start_commit();
  void require_same_step(std::int64_t step) const;
  double largest(double mine) const;
  void prune(std::int64_t step) const;  // on the writer's thread
  void report(const train::WriteOutcome& outcome);
  void wait();

  void require_room(const std::vector<hub::DirectoryImage>& images, std::int64_t steps_left);

  const RunDirectory& run_;
  std::optional<CkptSection> section_;
  std::string configuration_, config_hash_, tokenizer_dir_;
  Logger& log_;
  std::optional<WaitForRoom> wait_for_room_;
  std::optional<std::int64_t> last_saved_;
  std::string weights_dir_;
  double stall_ = 0, write_ = 0;
  std::mutex awaiting_;
  // Of the step that is under way.
  struct Pending {
    bool checkpoint = false;
    std::string weights_dir;
    double stall = 0;
    int directories() const { return (checkpoint ? 1 : 0) + (weights_dir.empty() ? 0 : 1); }
  } pending_;
  train::Processes processes_;
  // What several processes have under way; null: nothing.
  struct Joint {
    std::int64_t step = 0;
    bool committing = false;  // else storing
    bool done = false;        // here
    double moved = 0;         // by all: changes as long as something moves
    train::WriteOutcome outcome;
    std::shared_ptr<std::vector<hub::DirectoryImage>> images;
    std::shared_ptr<hub::JointDirectories> to;  // null: the first process writes all
  };
  std::unique_ptr<Joint> joint_;
  std::unique_ptr<train::CheckpointWriter> writer_;  // last: its thread uses the above
};

// Ends a run whose trainer gave up: its weights and moments are those before the steps that it skipped, so
// `save` stores them first, and the help of `stop` then says where. Whether an update had spoiled them before
// is not known. Throws `stop`; without `checkpoints` (or with ckpt None) as it is.
[[noreturn]] void save_and_throw(const Error& stop, const Checkpoints* checkpoints,
                                 const std::function<void()>& save, Logger& log);

}  // namespace rlcpp::app
