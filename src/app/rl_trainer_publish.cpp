// Publication of what several ranks hold.
#include <memory>
#include <utility>
#include <vector>

#include "app/rl_trainer_parts.h"
#include "base/durable.h"
#include "hub/image_writer.h"
#include "hub/joint_directories.h"
#include "model/checkpoint.h"
#include "train/checkpoint.h"

namespace rlcpp::app {
namespace {

// Every process stores its pieces in `directory`, which the first one commits. Collective.
void write_together(const train::TrainerGroup& group, const transport::FileWeightSender& sender,
                    const model::ModelConfig& model, const std::string& directory) {
  const train::Processes& processes = group.processes;
  std::vector<hub::DirectoryImage> images;
  images.push_back(model::model_image(model, train::pieces_of(group, &train::TrainedParameter::master),
                                      directory, sender.dtype(), "", sender.max_shard_bytes(),
                                      train::share_of(group)));
  durable::FileLayer& files = durable::system_files();
  std::unique_ptr<hub::JointDirectories> to;
  const auto open = [&] {
    to = std::make_unique<hub::JointDirectories>(files, images, "publish", processes.first());
  };
  if (processes.first()) open();
  processes.exchange({});  // the files are there
  if (!processes.first()) open();
  const int threads = hub::writer_threads();
  const std::size_t ring = 4 * static_cast<std::size_t>(threads) * hub::ImageWriter::kBlock;
  hub::ImageWriter writer(files, group.first().device(), ring, threads);
  hub::WriteProgress progress;
  writer.write(images, *to, progress);
  const auto reports = processes.exchange(to->report());
  if (processes.first()) to->commit(images, reports, progress);
}

}  // namespace

transport::Publication publish_weights(RankTeam& team, transport::FileWeightSender& sender,
                                       const model::ModelConfig& model, std::int64_t step,
                                       std::int64_t replay_from) {
  const train::TrainerGroup group = team.group();
  const bool first = group.processes.first();
  if (train::share_of(group) != hub::Share::kAll) {
    group.on_each([](train::Trainer& trainer) { trainer.synchronize(); });
    const auto write = [&](const std::string& directory) { write_together(group, sender, model, directory); };
    if (first) return sender.publish(step, replay_from, write);
    write(sender.directory(step));
    return {};
  }
  if (!first) return {};
  if (group.trainers.size() == 1 || model.adapters.any()) {
    return sender.publish(model, group.first().weights(), step, replay_from);
  }
  group.on_each([](train::Trainer& trainer) { trainer.synchronize(); });
  return sender.publish(model, train::pieces_of(group, &train::TrainedParameter::master), step, replay_from);
}

}  // namespace rlcpp::app
