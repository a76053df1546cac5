// Checkpoints of a training run: <run>/checkpoints/step_N appears complete or not at all and holds everything
// that a bit-equal continuation needs. Layout of step_N:
//   trainer/weights.safetensors      f32 masters of what is trained under their HF names; with model.lora the
//                                    adapters under PEFT's, and state.json says which base they belong to
//   trainer/exp_avg.safetensors      first moments, same names
//   trainer/exp_avg_sq.safetensors   second moments
//   trainer/state.json               counters, progress, and `extra`: one opaque JSON object a producer
//   ...                              further files of the caller, e.g. orchestrator/buffer.jsonl
//   manifest.json                    sizes and checksums, written last
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/durable.h"
#include "hub/tensor_image.h"
#include "train/trainer.h"

namespace rlcpp::train {

struct Progress {
  std::int64_t step = 0;          // steps done: step_N holds the state after N steps
  std::int64_t total_tokens = 0;  // real tokens seen, without padding
  std::int64_t total_samples = 0;
};

struct CheckpointFile {
  std::string name;  // relative to step_N, e.g. "orchestrator/progress.json"
  std::string content;
};

struct CheckpointContent {
  Progress progress;
  std::string config_hash;            // of the resolved configuration; compared on resume by the caller
  std::string extra = "{}";           // JSON object: data cursor, RNG positions, ... by producer
  std::vector<CheckpointFile> files;  // committed together with the rest
};

// The processes of a run.
struct Processes {
  int count = 1, index = 0;
  // What every process says, in their order; all of them come here.
  std::function<std::vector<std::vector<double>>(const std::vector<double>&)> exchange = {};
  bool first() const { return index == 0; }
};

// The trainers of a run's ranks in this process. Together with those of the other processes they hold all
// that is trained: a checkpoint does not know ranks, so it is continued by any number of them, at any level
// of ZeRO.
struct TrainerGroup {
  TrainerGroup(Trainer& one);  // NOLINT(google-explicit-constructor)
  TrainerGroup(std::vector<Trainer*> of_ranks, std::function<void(const std::function<void(Trainer&)>&)> each,
               Processes of_run = {})
      : trainers(std::move(of_ranks)), on_each(std::move(each)), processes(std::move(of_run)) {}
  Trainer& first() const { return *trainers.front(); }
  std::vector<Trainer*> trainers;
  // Calls it for every trainer, on its thread; what is collective may be called so.
  std::function<void(const std::function<void(Trainer&)>&)> on_each;
  Processes processes;
};

// Where a member of every trained parameter lies, by the parameter's index.
std::vector<std::vector<hub::TensorPiece>> pieces_of(const TrainerGroup& group,
                                                     Tensor TrainedParameter::*member);

// What this process has of the files of a checkpoint or an export: all of them if there is one process, and
// if adapters are trained, which every rank holds.
hub::Share share_of(const TrainerGroup& group);

// "<root>/step_<N>".
std::string step_directory(const std::string& root, std::int64_t step);

// <root>/step_<progress.step> as it is to be written: counters and texts are taken now, the tensors of the
// trainer when the image is read, so until then no update may be made. nullopt: a verified entry of that name
// is there and is left as it is, since a run writes a step once; one that does not verify is replaced.
std::optional<hub::DirectoryImage> checkpoint_image(const std::string& root, const TrainerGroup& group,
                                                    const CheckpointContent& content,
                                                    const std::string& run_id);

// <root>/latest names `step`: a hint for people and scripts; readers take the highest directory that
// verifies.
void write_latest(durable::FileLayer& files, const std::string& root, std::int64_t step);

// Writes that image and returns when it is committed. Throws environment_error if the disk refuses.
void save_checkpoint(durable::FileLayer& files, const std::string& root, const std::string& run_id,
                     const TrainerGroup& group, const CheckpointContent& content);

struct Restored {
  Progress progress;
  std::string config_hash;
  std::string extra = "{}";
};

// Fills weights, moments and counters of `trainer` and packs the weights; every checksum is verified on the
// way, and nothing is read twice. Throws bad_input naming the file, the tensor and both shapes if something
// is missing or does not fit: then nothing has changed; or naming file and offset if bytes are damaged: then
// the trainer holds parts of both states, and another checkpoint must be loaded before it is used.
Restored load_checkpoint(const std::string& directory, const TrainerGroup& group);

// The step to resume from: `wanted` >= 0 names it, -1 means the newest that verifies (without `checksums`: by
// manifest and sizes). Throws bad_input listing the steps that exist. `skipped` receives one sentence for
// each entry passed over.
std::int64_t resolve_resume_step(const std::string& root, std::int64_t wanted,
                                 std::vector<std::string>* skipped, bool checksums = true);

// Removes steps other than the newest `keep_last` and the multiples of `keep_interval`; both absent: nothing
// is removed. Never removes the newest verified one, nor `just_written`. Returns the steps removed.
std::vector<std::int64_t> prune_checkpoints(durable::FileLayer& files, const std::string& root,
                                            std::optional<std::int64_t> keep_last,
                                            std::optional<std::int64_t> keep_interval,
                                            std::int64_t just_written);

}  // namespace rlcpp::train
