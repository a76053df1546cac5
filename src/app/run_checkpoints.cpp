#include "app/run_checkpoints.h"

#include <chrono>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "model/checkpoint.h"
#include "monitor/console.h"

namespace rlcpp::app {

Checkpoints::Checkpoints(const RunDirectory& run, const std::optional<CkptSection>& section,
                         std::string config_hash, std::string tokenizer_dir, Logger& log)
    : run_(run),
      section_(section),
      config_hash_(std::move(config_hash)),
      tokenizer_dir_(std::move(tokenizer_dir)),
      log_(log) {}

bool Checkpoints::due(std::int64_t step) const {
  return section_.has_value() && section_->interval.has_value() && step % *section_->interval == 0;
}

void Checkpoints::export_weights(train::Trainer& trainer, std::int64_t step) {
  const WeightsSection& weights = *section_->weights;
  const std::string dir = train::step_directory(run_.weights(), step);
  weights_dir_ = dir;
  std::error_code ignored;
  if (std::filesystem::exists(dir, ignored)) return;  // appears complete or not at all
  durable::make_directories(durable::system_files(), run_.weights());
  const std::size_t shard =
      weights.save_sharded ? std::size_t{5} << 30 : std::numeric_limits<std::size_t>::max();
  model::save_model(trainer.model(), trainer.weights(), dir,
                    weights.dtype == "float32" ? DType::kF32 : DType::kBF16, tokenizer_dir_, shard);
}

void Checkpoints::save(train::Trainer& trainer, train::CheckpointContent content) {
  if (!section_.has_value()) return;
  const std::int64_t step = content.progress.step;
  const auto begin = std::chrono::steady_clock::now();
  durable::FileLayer& files = durable::system_files();
  if (last_saved_ != step) {
    content.config_hash = config_hash_;
    train::save_checkpoint(files, run_.checkpoints(), run_.run_id(), trainer, content);
    last_saved_ = step;
  }
  if (section_->weights.has_value()) export_weights(trainer, step);
  for (const std::int64_t old : train::prune_checkpoints(files, run_.checkpoints(), section_->keep_last,
                                                         section_->keep_interval, step)) {
    durable::remove_tree(files, train::step_directory(run_.weights(), old));
    log_.debug(fmt::format("removed checkpoint and weights of step {}", old));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  seconds_ += seconds;
  log_.info(fmt::format("saved step {} in {:.2f} s", step, seconds));
}

std::optional<std::int64_t> Checkpoints::resume_step() {
  if (!section_.has_value() || !section_->resume_step.has_value()) return std::nullopt;
  std::vector<std::string> skipped;
  const std::int64_t step = train::resolve_resume_step(run_.checkpoints(), *section_->resume_step, &skipped);
  for (const std::string& reason : skipped) log_.warn("passed over " + reason);
  return step;
}

train::Restored Checkpoints::resume(std::int64_t step, train::Trainer& trainer) {
  const std::string dir = train::step_directory(run_.checkpoints(), step);
  train::Restored restored = train::load_checkpoint(dir, trainer);
  if (restored.config_hash != config_hash_) {
    log_.warn(fmt::format(
        "the configuration is not the one that {} was written with; the run continues with the new one",
        dir));
  }
  if (const int moved = run_.set_aside_after(step); moved > 0) {
    log_.warn(fmt::format("set {} later entries aside as before-{}.step_N: this run makes those steps anew",
                          moved, run_.run_id()));
  }
  last_saved_ = step;
  log_.info(fmt::format("resumed from {}", dir));
  return restored;
}

}  // namespace rlcpp::app
