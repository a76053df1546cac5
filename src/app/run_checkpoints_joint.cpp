// Checkpoints of a run of several processes. Each stores what its ranks hold; the first makes the
// directories, collects the checksums and commits. All waits are rounds of short exchanges, so that no
// collective lasts as long as a disk.
#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "app/run_checkpoints.h"
#include "app/run_clock.h"
#include "base/wait.h"

namespace rlcpp::app {

double Checkpoints::largest(double mine) const {
  if (processes_.count == 1) return mine;
  double out = mine;
  for (const auto& said : processes_.exchange({mine})) out = std::max(out, said.at(0));
  return out;
}

void Checkpoints::require_same_step(std::int64_t step) const {
  if (processes_.count == 1) return;
  const auto said = processes_.exchange({static_cast<double>(step)});
  for (std::size_t p = 0; p < said.size(); ++p) {
    if (said[p].at(0) == said[0].at(0)) continue;
    throw bad_input(fmt::format("process {} would resume from step {}, process 0 from step {}", p, said[p][0],
                                said[0][0]),
                    "all processes must see one output_dir",
                    "put output_dir on a file system that all machines share");
  }
}

std::optional<std::int64_t> Checkpoints::under_way() const {
  return joint_ != nullptr ? joint_->step : writer_->busy();
}

void Checkpoints::start_joint(const train::TrainerGroup& group, std::int64_t step,
                              std::vector<hub::DirectoryImage> images) {
  const bool first = processes_.first();
  const bool apart = train::share_of(group) != hub::Share::kAll;
  auto joint = std::make_unique<Joint>();
  joint->step = step;
  if (first && apart && !images.empty()) {
    joint->to = std::make_shared<hub::JointDirectories>(durable::system_files(), images, run_.run_id(), true);
  }
  // What is there already, or not asked for, the first has seen; when this returns, its files are there.
  const auto said =
      processes_.exchange({pending_.checkpoint ? 1.0 : 0.0, pending_.weights_dir.empty() ? 0.0 : 1.0});
  const bool checkpoint = said.front().at(0) != 0, weights = said.front().at(1) != 0;
  if (!first) {
    std::vector<hub::DirectoryImage> asked;
    for (hub::DirectoryImage& image : images) {
      if (image.path == pending_.weights_dir ? weights : checkpoint) asked.push_back(std::move(image));
    }
    images = std::move(asked);
    if (!checkpoint && pending_.checkpoint) last_saved_ = step;
    if (!weights && !pending_.weights_dir.empty()) weights_dir_ = pending_.weights_dir;
    pending_.checkpoint = checkpoint;
    if (!weights) pending_.weights_dir.clear();
  }
  if (!checkpoint && !weights) return;
  group.on_each([](train::Trainer& trainer) { trainer.synchronize(); });
  joint_ = std::move(joint);
  if (!apart) {
    joint_->committing = true;
    joint_->done = !first;
    if (first) writer_->start(step, std::move(images), run_.run_id(), [this, step] { prune(step); });
    return;
  }
  if (!first) {
    joint_->to =
        std::make_shared<hub::JointDirectories>(durable::system_files(), images, run_.run_id(), false);
  }
  joint_->images = std::make_shared<std::vector<hub::DirectoryImage>>(std::move(images));
  writer_->start(
      step, [all = joint_->images, to = joint_->to](hub::ImageWriter& writer, hub::WriteProgress& progress,
                                                    const std::function<void()>& on_read) {
        writer.write(*all, *to, progress, on_read);
      });
}

// All have stored their parts.
void Checkpoints::start_commit() {
  Joint& joint = *joint_;
  auto reports = processes_.exchange(joint.to->report());
  joint.committing = true;
  joint.done = !processes_.first();
  if (joint.done) return;
  writer_->start(joint.step,
                 [this, step = joint.step, all = joint.images, to = joint.to, reports = std::move(reports)](
                     hub::ImageWriter&, hub::WriteProgress& progress, const std::function<void()>& on_read) {
                   on_read();
                   to->commit(*all, reports, progress);
                   prune(step);
                 });
}

void Checkpoints::poll_joint() {
  Joint& joint = *joint_;
  if (auto outcome = writer_->take()) {
    // The others hear of it as of every error that ends a process.
    if (outcome->failure) std::rethrow_exception(outcome->failure);
    const train::WriteOutcome before = std::exchange(joint.outcome, std::move(*outcome));
    joint.outcome.bytes += before.bytes;
    joint.outcome.seconds += before.seconds;
    joint.done = true;
  }
  bool all_done = true;
  joint.moved = 0;
  for (const auto& said : processes_.exchange({joint.done ? 1.0 : 0.0, writer_->moved()})) {
    all_done = all_done && said.at(0) != 0;
    joint.moved += said.at(1);
  }
  if (!all_done) return;
  if (!joint.committing) return start_commit();
  train::WriteOutcome outcome = std::move(joint.outcome);
  outcome.step = joint.step;
  outcome.committed = pending_.directories();
  joint_.reset();
  report(outcome);
}

void Checkpoints::wait_joint() {
  const double begin = monotonic_seconds(), before = pending_.stall;
  Wait wait("the checkpoint writers of all processes", fmt::format("step {} to be written", joint_->step),
            std::chrono::seconds(60), std::chrono::seconds(600));
  double moved = 0;
  for (auto pause = std::chrono::milliseconds(1);;) {
    poll_joint();
    if (joint_ == nullptr) return;
    if (joint_->moved != moved) wait.progress();
    moved = joint_->moved;
    wait.check();
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(100));
    pending_.stall = before + monotonic_seconds() - begin;
  }
}

}  // namespace rlcpp::app
