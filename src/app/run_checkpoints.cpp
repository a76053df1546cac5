#include "app/run_checkpoints.h"

#include <chrono>
#include <filesystem>
#include <limits>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/run_changes.h"
#include "base/durable.h"
#include "base/error.h"
#include "model/checkpoint.h"
#include "monitor/console.h"

namespace rlcpp::app {
namespace {

// In each checkpoint: what decides the result, so that a resumed run can say what has changed.
constexpr const char* kConfiguration = "configuration.json";

}  // namespace

Checkpoints::Checkpoints(const RunDirectory& run, const std::optional<CkptSection>& section,
                         std::string configuration, std::string tokenizer_dir, Logger& log)
    : run_(run),
      section_(section),
      configuration_(std::move(configuration)),
      config_hash_(fmt::format("{:08x}", durable::crc32c(std::as_bytes(std::span(configuration_))))),
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
                    weights.dtype == "float32" ? DType::kF32 : DType::kBF16, tokenizer_dir_, shard,
                    weights.save_adapter_separately);
}

void Checkpoints::save(train::Trainer& trainer, train::CheckpointContent content) {
  if (!section_.has_value()) return;
  const std::int64_t step = content.progress.step;
  const auto begin = std::chrono::steady_clock::now();
  durable::FileLayer& files = durable::system_files();
  if (last_saved_ != step) {
    content.config_hash = config_hash_;
    content.files.push_back({kConfiguration, configuration_});
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

train::Restored Checkpoints::resume(std::int64_t step, train::Trainer& trainer, const std::string& producer,
                                    const std::string& command) {
  const std::string dir = train::step_directory(run_.checkpoints(), step);
  train::Restored restored = train::load_checkpoint(dir, trainer);
  const auto extra = nlohmann::ordered_json::parse(restored.extra, nullptr, false);
  if (!extra.is_object() || !extra.contains(producer)) {
    throw bad_input(fmt::format("the checkpoint of step {} in {} was not written by `rlcpp {}`", step,
                                run_.checkpoints(), command),
                    fmt::format("it holds no state of the {}", producer),
                    fmt::format("choose the output_dir of a run of `rlcpp {}`", command));
  }
  restored.extra = extra.at(producer).dump();
  report_changes(dir, restored.config_hash);
  if (const int moved = run_.set_aside_after(step); moved > 0) {
    log_.warn(fmt::format("set {} later entries aside as before-{}.step_N: this run makes those steps anew",
                          moved, run_.run_id()));
  }
  last_saved_ = step;
  log_.info(fmt::format("resumed from {}", dir));
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
    log.warn(fmt::format("the last good state could not be saved: {}", e.what()));
    throw stop;
  }
  throw Error(stop.code(), stop.what(), stop.because(),
              fmt::format("{}; the last good weights and moments are saved in {}, continue with "
                          "--ckpt.resume-step -1",
                          stop.help(), checkpoints->last_directory()));
}

}  // namespace rlcpp::app
