// The transport over a file system that both processes see, laid out as the reference does:
//   <sender of rollouts>/rollouts/step_N/rank_R.bin    rollout_batch.h; N counts from 1
//                                        state.json    of the sender, after this step
//   <trainer>/broadcasts/step_N/                       a model in Hugging Face format
//                               STABLE                 written last; N updates made, 0 is the start
// Both name the run of the trainer that they belong to, so that what an earlier run left is not taken.
// Each process writes below its own directory alone, whose lock it holds, and reads the other's. Names appear
// only with their content on disk (base/durable.h), so a process killed at any point leaves nothing that
// another could take for complete.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/durable.h"
#include "hub/tensor_image.h"
#include "tensor/dtype.h"
#include "transport/transport.h"

namespace rlcpp::transport {

std::string step_path(const std::string& root, std::int64_t step);  // "<root>/step_<N>"
// N of all entries "step_N" of `root`, ascending; complete or not.
std::vector<std::int64_t> steps_in(const std::string& root);

class FileRolloutSender final : public RolloutSender {
 public:
  // root: ".../rollouts", made with the first step. run_id names this process in temporary files.
  FileRolloutSender(durable::FileLayer& files, std::string root, std::string run_id)
      : files_(files), root_(std::move(root)), run_id_(std::move(run_id)) {}
  void send(std::span<const RolloutBatch> ranks, std::string_view state) override;

  struct State {
    std::int64_t step = 0;
    std::string text;
  };
  // Of the newest step that verifies, or of `wanted` (which must: bad_input). nullopt: there is none.
  // `skipped` receives a sentence for each newer one that does not verify.
  std::optional<State> newest_state(std::optional<std::int64_t> wanted,
                                    std::vector<std::string>* skipped) const;
  // Steps after `step` are renamed to before-<run id>.step_M, from the last on, so that a receiver never sees
  // a gap. Returns how many.
  int set_aside_after(std::int64_t step);
  // Removes the steps before `step`, except those that `keep` says true for.
  void prune_before(std::int64_t step, const std::function<bool(std::int64_t)>& keep);

 private:
  durable::FileLayer& files_;
  std::string root_, run_id_;
};

class FileRolloutReceiver final : public RolloutReceiver {
 public:
  FileRolloutReceiver(std::string root, std::string run, std::int64_t rank = 0)
      : root_(std::move(root)), run_(std::move(run)), rank_(rank) {}
  // Besides what the interface says: bad_input at once if later steps are there and this one is not, since
  // then nobody will send it.
  std::optional<RolloutBatch> receive(std::int64_t step, const WaitOptions& wait) override;

 private:
  std::string root_, run_;
  std::int64_t rank_;
};

class FileWeightSender final : public WeightSender {
 public:
  // root: ".../broadcasts"; dtype: kF32 or kBF16, of the files, which are split above max_shard_bytes.
  FileWeightSender(durable::FileLayer& files, std::string root, std::string run, DType dtype,
                   std::size_t max_shard_bytes = std::size_t{5} << 30)
      : files_(files),
        root_(std::move(root)),
        run_(std::move(run)),
        dtype_(dtype),
        max_shard_bytes_(max_shard_bytes) {}
  // A directory of that step is replaced.
  Publication publish(const model::ModelConfig& config, const model::WeightSet& weights, std::int64_t step,
                      std::int64_t replay_from) override;
  // The same of a model that lies in pieces (model::model_image).
  Publication publish(const model::ModelConfig& config,
                      const std::vector<std::vector<hub::TensorPiece>>& weights, std::int64_t step,
                      std::int64_t replay_from);
  // The same with the directory that `write` makes.
  Publication publish(std::int64_t step, std::int64_t replay_from,
                      const std::function<void(const std::string& directory)>& write);
  std::string directory(std::int64_t step) const { return step_path(root_, step); }
  DType dtype() const { return dtype_; }
  std::size_t max_shard_bytes() const { return max_shard_bytes_; }
  // Removes the steps after `step`, from the last on: a resumed trainer makes them anew.
  void remove_after(std::int64_t step);
  // Removes the steps before `step`, except those that `keep` says true for.
  void prune_before(std::int64_t step, const std::function<bool(std::int64_t)>& keep);

 private:
  durable::FileLayer& files_;
  std::string root_, run_;
  DType dtype_;
  std::size_t max_shard_bytes_;
};

class FileWeightReceiver final : public WeightReceiver {
 public:
  explicit FileWeightReceiver(std::string root) : root_(std::move(root)) {}
  std::optional<std::int64_t> newest(std::int64_t first, std::int64_t last) override;
  std::string newest_run() override;
  Publication load(std::int64_t step, const model::ModelConfig& config, const model::WeightSet& spare,
                   const model::WeightSet& live, ThreadPool* pool) override;

 private:
  std::string root_;
};

}  // namespace rlcpp::transport
