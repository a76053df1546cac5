#include "app/run_checkpoints.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/run_changes.h"
#include "app/run_clock.h"
#include "base/durable.h"
#include "base/error.h"
#include "model/checkpoint.h"
#include "monitor/console.h"
#include "tensor/device.h"

namespace rlcpp::app {
namespace {

// In each checkpoint: what decides the result, so that a resumed run can say what has changed.
constexpr const char* kConfiguration = "configuration.json";
// Enough to keep a disk busy while nothing else is to be done.
constexpr std::size_t kSmallRing = std::size_t{256} << 20;

bool is_sound(const std::string& directory) {
  try {
    durable::verify_directory(directory);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Checkpoints::Checkpoints(const RunDirectory& run, const std::optional<CkptSection>& section,
                         std::string configuration, std::string tokenizer_dir, Logger& log)
    : run_(run),
      section_(section),
      configuration_(std::move(configuration)),
      config_hash_(fmt::format("{:08x}", durable::crc32c(std::as_bytes(std::span(configuration_))))),
      tokenizer_dir_(std::move(tokenizer_dir)),
      log_(log) {
  if (section_.has_value() && section_->on_disk_full == "wait") wait_for_room_.emplace(log_);
}

bool Checkpoints::due(std::int64_t step) const {
  return section_.has_value() && section_->interval.has_value() && step % *section_->interval == 0;
}

std::optional<hub::DirectoryImage> Checkpoints::weights_image(const train::TrainerGroup& group,
                                                              std::int64_t step) {
  const WeightsSection& weights = *section_->weights;
  const std::string dir = train::step_directory(run_.weights(), step);
  std::error_code ignored;
  if (!run_.follows() && std::filesystem::exists(dir, ignored)) {  // appears complete or not at all
    weights_dir_ = dir;
    return std::nullopt;
  }
  const std::size_t shard =
      weights.save_sharded ? std::size_t{5} << 30 : std::numeric_limits<std::size_t>::max();
  const DType type = weights.dtype == "float32" ? DType::kF32 : DType::kBF16;
  const model::ModelConfig& model = group.first().model();
  const hub::Share share = train::share_of(group);
  if (!model.adapters.any() && (group.trainers.size() > 1 || share != hub::Share::kAll)) {
    return model::model_image(model, train::pieces_of(group, &train::TrainedParameter::master), dir, type,
                              tokenizer_dir_, shard, share);
  }
  return model::model_image(model, group.first().weights(), dir, type, tokenizer_dir_, shard,
                            weights.save_adapter_separately);
}

std::vector<hub::DirectoryImage> Checkpoints::images_of(const train::TrainerGroup& group,
                                                        train::CheckpointContent content) {
  const std::int64_t step = content.progress.step;
  pending_ = Pending{};
  std::vector<hub::DirectoryImage> images;
  if (last_saved_ != step) {
    content.config_hash = config_hash_;
    content.files.push_back({kConfiguration, configuration_});
    if (auto image = train::checkpoint_image(run_.checkpoints(), group, content, run_.run_id())) {
      pending_.checkpoint = true;
      images.push_back(std::move(*image));
    } else {
      last_saved_ = step;
    }
  }
  if (section_->weights.has_value()) {
    if (auto image = weights_image(group, step)) {
      pending_.weights_dir = image->path;
      images.push_back(std::move(*image));
    }
  }
  return images;
}

void Checkpoints::require_room(const std::vector<hub::DirectoryImage>& images, std::int64_t steps_left) {
  if (!processes_.first() || steps_left == 0) return;
  double bytes = 0;
  for (const hub::DirectoryImage& image : images) bytes += static_cast<double>(image.tensor_bytes());
  // The step before is kept until the next is committed.
  const bool several = section_->interval.has_value() && (steps_left < 0 || steps_left > *section_->interval);
  require_disk_room(run_.path(), several ? 2 * bytes : bytes,
                    fmt::format("{} {}", several ? "two checkpoints need" : "a checkpoint needs",
                                monitor::gib(several ? 2 * bytes : bytes)),
                    section_->on_disk_full == "wait", log_);
}

void Checkpoints::prepare(const train::TrainerGroup& group, std::size_t host_planned,
                          std::int64_t steps_left) {
  processes_ = group.processes;
  if (!section_.has_value()) return;
  train::CheckpointContent nothing;
  nothing.progress.step = -1;  // never the name of a directory
  const std::vector<hub::DirectoryImage> images = images_of(group, nothing);
  require_room(images, steps_left);
  const std::size_t all = hub::ImageWriter::ring_for(images);
  const std::size_t free = host_memory_available_bytes();
  // Processes of one machine share it, and so they may all be here.
  const std::size_t room =
      (free - std::min(free, host_planned)) / 2 / static_cast<std::size_t>(processes_.count);
  std::size_t ring = std::min(all, kSmallRing);
  if (section_->staging.has_value()) {
    ring = std::min(all, parse_bytes(*section_->staging, "ckpt.staging"));
  } else if (section_->background && section_->interval.has_value()) {
    ring = std::min(all, std::max(room, kSmallRing));
  }
  writer_ = std::make_unique<train::CheckpointWriter>(durable::system_files(), group.first().device(), ring,
                                                      hub::writer_threads(), hub::reader_threads());
  log_.info(fmt::format("checkpoints: {} a step, through {} of host memory{}",
                        monitor::gib(static_cast<double>(all)),
                        monitor::gib(static_cast<double>(writer_->ring_bytes())),
                        !section_->background || !section_->interval.has_value() ? ""
                        : ring < all ? ": an update waits until the disk has taken the rest (ckpt.staging)"
                                     : ": an update waits for no disk"));
}

void Checkpoints::begin(const train::TrainerGroup& group, train::CheckpointContent content) {
  if (!section_.has_value()) return;
  const std::int64_t step = content.progress.step;
  if (under_way() == step) return;
  const double begin = monotonic_seconds();
  poll();
  if (const auto earlier = under_way()) {
    log_.info(fmt::format("step {} is to be saved and waits for step {}, which is still being written", step,
                          *earlier));
    wait();
  }
  std::vector<hub::DirectoryImage> images = images_of(group, std::move(content));
  if (!run_.follows() && !images.empty()) {
    durable::make_directories(durable::system_files(), run_.checkpoints());
    if (!pending_.weights_dir.empty()) durable::make_directories(durable::system_files(), run_.weights());
  }
  if (processes_.count > 1) {
    start_joint(group, step, std::move(images));
  } else if (!images.empty()) {
    group.on_each([](train::Trainer& trainer) { trainer.synchronize(); });
    writer_->start(step, std::move(images), run_.run_id(), [this, step] { prune(step); });
  }
  if (under_way().has_value()) {
    pending_.stall = monotonic_seconds() - begin;
    if (!section_->background) wait();
  }
  stall_ += monotonic_seconds() - begin;
}

void Checkpoints::await_read() {
  if (writer_ == nullptr) return;
  const std::lock_guard hold(awaiting_);  // every rank comes here, and the first waits
  const double seconds = writer_->await_read();
  stall_ += seconds;
  pending_.stall += seconds;
}

void Checkpoints::prune(std::int64_t step) const {
  durable::FileLayer& files = durable::system_files();
  for (const std::int64_t old : train::prune_checkpoints(files, run_.checkpoints(), section_->keep_last,
                                                         section_->keep_interval, step)) {
    durable::remove_tree(files, train::step_directory(run_.weights(), old));
    log_.debug(fmt::format("removed checkpoint and weights of step {}", old));
  }
}

void Checkpoints::report(const train::WriteOutcome& outcome) {
  const int directories = pending_.directories();
  if (pending_.checkpoint && outcome.committed > 0) last_saved_ = outcome.step;
  if (outcome.committed == directories && !pending_.weights_dir.empty()) weights_dir_ = pending_.weights_dir;
  write_ += outcome.seconds;
  if (outcome.failure) std::rethrow_exception(outcome.failure);
  const auto bytes = static_cast<double>(outcome.bytes);
  log_.info(fmt::format("saved step {} in {:.2f} s: {}, {:.2f} GB/s; training waited {:.2f} s", outcome.step,
                        outcome.seconds, monitor::gib(bytes), bytes / 1e9 / std::max(outcome.seconds, 1e-9),
                        pending_.stall));
}

void Checkpoints::poll() {
  if (writer_ == nullptr) return;
  if (joint_ != nullptr) return poll_joint();
  if (const auto outcome = writer_->take()) report(*outcome);
}

void Checkpoints::wait() {
  const double begin = monotonic_seconds();
  if (joint_ != nullptr) return wait_joint();
  const train::WriteOutcome outcome = writer_->wait();
  pending_.stall += monotonic_seconds() - begin;
  report(outcome);
}

void Checkpoints::save(const train::TrainerGroup& group, train::CheckpointContent content) {
  if (!section_.has_value()) return;
  begin(group, std::move(content));
  if (const auto step = under_way()) {
    log_.debug(fmt::format("waiting until step {} is written", *step));
    const double begin = monotonic_seconds();
    wait();
    stall_ += monotonic_seconds() - begin;
  }
}

std::optional<std::int64_t> Checkpoints::resume_step() {
  if (!section_.has_value() || !section_->resume_step.has_value()) return std::nullopt;
  std::vector<std::string> skipped;
  // Checksums are compared while the state is loaded: see resume().
  const std::int64_t step =
      train::resolve_resume_step(run_.checkpoints(), *section_->resume_step, &skipped, false);
  for (const std::string& reason : skipped) {
    if (!run_.follows()) log_.warn("passed over " + reason);
  }
  return step;
}

train::Restored Checkpoints::load(std::int64_t* step, const train::TrainerGroup& group) {
  for (;;) {
    const std::string dir = train::step_directory(run_.checkpoints(), *step);
    const double begin = monotonic_seconds();
    require_same_step(*step);
    std::optional<train::Restored> restored;
    try {
      restored = train::load_checkpoint(dir, group);
    } catch (const Error& error) {
      // Sound as a directory, so it is the run that differs; or this very step was asked for.
      if (*section_->resume_step != -1 || is_sound(dir)) throw;
      if (!run_.follows()) log_.warn(fmt::format("passed over {}: {}", error.what(), error.because()));
    }
    // Every process reads all of it, so only a disk that answers them differently makes them differ.
    if (largest(restored.has_value() ? 0 : 1) == 0) {
      log_.info(fmt::format("resumed from {} in {:.2f} s", dir, monotonic_seconds() - begin));
      return std::move(*restored);
    }
    const std::vector<std::int64_t> steps = durable::committed_steps(run_.checkpoints(), nullptr, false);
    const auto older = std::lower_bound(steps.begin(), steps.end(), *step);
    if (older == steps.begin()) {
      throw bad_input(run_.checkpoints() + " holds no checkpoint to resume from", "none of them verifies",
                      "check output_dir and the disk, or leave ckpt.resume_step out to start anew");
    }
    *step = *std::prev(older);
  }
}

void Checkpoints::report_changes(const std::string& checkpoint, const std::string& hash) {
  if (hash == config_hash_) return;
  const std::string path = checkpoint + "/" + kConfiguration;
  std::error_code ignored;
  std::vector<std::string> texts;
  if (std::filesystem::exists(path, ignored)) {
    for (const Change& change : changes(durable::read_file(path), configuration_)) {
      if (change.key == "max_steps") {
        log_.info(change.text + ": the learning rate now decays over the new length");
      } else {
        texts.push_back(change.text);
      }
    }
    if (texts.empty()) return;
  } else {
    texts.push_back("it does not say in what");
  }
  log_.warn(fmt::format(
      "the configuration is not the one that {} was written with, and the run continues with the new one: {}",
      checkpoint, fmt::join(texts, ", ")));
}

train::Restored Checkpoints::resume(std::int64_t step, const train::TrainerGroup& group,
                                    const std::string& producer, const std::string& command) {
  processes_ = group.processes;
  train::Restored restored = load(&step, group);
  const std::string dir = train::step_directory(run_.checkpoints(), step);
  const auto extra = nlohmann::ordered_json::parse(restored.extra, nullptr, false);
  if (!extra.is_object() || !extra.contains(producer)) {
    throw bad_input(fmt::format("the checkpoint of step {} in {} was not written by `rlcpp {}`", step,
                                run_.checkpoints(), command),
                    fmt::format("it holds no state of the {}", producer),
                    fmt::format("choose the output_dir of a run of `rlcpp {}`", command));
  }
  restored.extra = extra.at(producer).dump();
  last_saved_ = step;
  if (run_.follows()) return restored;
  report_changes(dir, restored.config_hash);
  if (const int moved = run_.set_aside_after(step); moved > 0) {
    log_.warn(fmt::format("set {} later entries aside as before-{}.step_N: this run makes those steps anew",
                          moved, run_.run_id()));
  }
  // A kill may have come before it was moved, and what it named may just have been set aside.
  train::write_latest(durable::system_files(), run_.checkpoints(), step);
  return restored;
}

std::string Checkpoints::last_directory() const {
  return last_saved_.has_value() ? train::step_directory(run_.checkpoints(), *last_saved_) : std::string();
}

void save_and_throw(const Error& stop, const Checkpoints* checkpoints, const std::function<void()>& save,
                    Logger& log) {
  if (checkpoints == nullptr || !checkpoints->enabled()) throw stop;
  try {
    save();
  } catch (const Error& e) {
    log.warn(fmt::format("the state before these steps could not be saved: {}", e.what()));
    throw stop;
  }
  throw Error(
      stop.code(), stop.what(), stop.because(),
      fmt::format(
          "{}; weights and moments as they were before these steps are saved in {}: once the cause is "
          "mended, continue with --ckpt.resume-step -1, or from an earlier step if an update had "
          "spoiled them already",
          stop.help(), checkpoints->last_directory()));
}

}  // namespace rlcpp::app
