#include "train/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "hub/image_reader.h"
#include "hub/image_writer.h"
#include "tensor/copy.h"
#include "train/optimizer.h"

namespace rlcpp::train {
namespace {

constexpr int kFormat = 1;
const char* const kState = "trainer/state.json";
const failpoint::Registration kPoints{"checkpoint.before_commit", "checkpoint.after_commit"};

using Member = Tensor TrainedParameter::*;

// True if the optimizer keeps `member` of the parameter, wherever it lies.
bool keeps(const Trainer& trainer, Member member, const model::ParameterInfo& parameter) {
  const MomentUse use = moments_of(trainer.optim(), parameter);
  return member == &TrainedParameter::first    ? use.first
         : member == &TrainedParameter::second ? use.second
                                               : true;
}

// Every HF tensor inside the trained parameters, and its pieces of `member` in this process.
template <class Visit>
void each_slice(const TrainerGroup& group, Member member, const Visit& visit) {
  const std::vector<std::vector<hub::TensorPiece>> pieces = pieces_of(group, member);
  const std::vector<TrainedParameter>& some = group.first().trained();
  DType type = DType::kF32;
  for (const TrainedParameter& parameter : some) {
    if (!(parameter.*member).empty()) type = (parameter.*member).dtype();
  }
  const auto visit_all = [&](std::size_t p, const std::vector<model::HfSlice>& slices) {
    for (const model::HfSlice& slice : slices) {
      // Consecutive rows of the parameter, so one run of elements.
      std::int64_t width = 1;
      for (std::size_t axis = 1; axis < slice.shape.size(); ++axis) width *= slice.shape[axis];
      visit(slice, type, hub::cut(pieces.at(p), slice.row * width, slice.shape.at(0) * width));
    }
  };
  if (group.first().model().adapters.any()) {
    for (const TrainedParameter& parameter : some) {
      if (!(parameter.*member).empty()) visit_all(parameter.index, parameter.slices);
    }
    return;
  }
  // Of a parameter that lies in other processes nobody here has an entry.
  const std::vector<model::ParameterInfo> list = model::parameter_list(group.first().model());
  for (std::size_t p = 0; p < list.size(); ++p) {
    if (keeps(group.first(), member, list[p])) visit_all(p, list[p].slices);
  }
}

hub::TensorImage image_of(const TrainerGroup& group, Member member) {
  std::vector<hub::ImagePart> parts;
  each_slice(group, member,
             [&](const model::HfSlice& slice, DType type, std::vector<hub::TensorPiece> pieces) {
               hub::ImagePart& part = parts.emplace_back();
               part.stored = {slice.name, type, slice.shape};
               part.pieces = std::move(pieces);
             });
  return {std::move(parts), {{"format", "rlcpp"}}, share_of(group)};
}

hub::TensorFileTarget target_of(const char* name, const TrainerGroup& group, Member member) {
  hub::TensorFileTarget out{name, {}};
  each_slice(group, member,
             [&](const model::HfSlice& slice, DType type, std::vector<hub::TensorPiece> pieces) {
               hub::TensorTarget& target = out.places[slice.name];
               target.shape = slice.shape;
               target.dtype = type;
               target.pieces = std::move(pieces);
             });
  return out;
}

// The files of a run: those of moments that its optimizer has.
std::vector<std::pair<const char*, Member>> tensor_files(const Trainer& trainer) {
  const MomentUse use = moments_of(trainer.optim());
  std::vector<std::pair<const char*, Member>> out = {
      {"trainer/weights.safetensors", &TrainedParameter::master}};
  if (use.first) out.emplace_back("trainer/exp_avg.safetensors", &TrainedParameter::first);
  if (use.second) out.emplace_back("trainer/exp_avg_sq.safetensors", &TrainedParameter::second);
  return out;
}

// Other moments cannot be made of those that a checkpoint holds.
void require_same_optimizer(const nlohmann::ordered_json& state, const Trainer& trainer,
                            const std::string& where) {
  const std::string theirs = state.value("optimizer", "adamw");  // files of before there were others
  if (theirs == trainer.optim().type) return;
  throw bad_input(fmt::format("{} is of a run with optim.type = \"{}\"", where, theirs),
                  fmt::format("this run has \"{}\", whose state it does not hold", trainer.optim().type),
                  "resume with the optimizer of that run, or start a new run from its exported weights");
}

// The frozen base of adapters by name and a sample: the first numbers of each of its tensors, as the decoder
// reads them. Another base, or another training of the same one, has others.
nlohmann::ordered_json base_of(const Trainer& trainer) {
  constexpr std::int64_t kSample = 64;
  std::uint32_t crc = 0;
  for (const Tensor& tensor : trainer.weights().flat) {
    const Tensor first = tensor.view({tensor.size()}).rows(0, std::min(kSample, tensor.size()));
    std::vector<std::byte> bytes(first.bytes());
    copy(Tensor(bytes.data(), first.dtype(), first.shape()), first);
    crc = durable::crc32c(bytes, crc);
  }
  return {{"name", trainer.model().adapters.base},
          {"dtype", name_of(trainer.weights().flat.front().dtype())},
          {"sample_crc32c", crc}};
}

// A checkpoint of adapters belongs to the run's base, one of a whole model to a run that trains it.
void require_same_base(const nlohmann::ordered_json& state, const Trainer& trainer,
                       const std::string& where) {
  const bool run = trainer.model().adapters.any();
  if (state.contains("base") != run) {
    throw bad_input(
        where + (run ? " is of a run that trained all weights" : " is of a run that trained adapters"),
        run ? "this run has model.lora" : "this run has no model.lora",
        "resume with the configuration of that run");
  }
  if (!run) return;
  const nlohmann::ordered_json base = base_of(trainer);
  if (state.at("base").at("dtype") != base.at("dtype")) return;  // another device reads it rounded
  if (state.at("base").at("sample_crc32c") == base.at("sample_crc32c")) return;
  throw bad_input(where + " holds adapters of another base model",
                  fmt::format("theirs was {}, this run's is {}, and their weights differ",
                              state.at("base").at("name").dump(), base.at("name").dump()),
                  "resume with the model.name, and the seed of random weights, of that run");
}

bool verifies(const std::string& directory) {
  try {
    durable::verify_directory(directory);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TrainerGroup::TrainerGroup(Trainer& one)
    : trainers{&one}, on_each([&one](const std::function<void(Trainer&)>& body) { body(one); }) {}

std::vector<std::vector<hub::TensorPiece>> pieces_of(const TrainerGroup& group, Member member) {
  std::vector<std::vector<hub::TensorPiece>> out;
  if (!group.first().model().adapters.any()) out.resize(model::parameter_list(group.first().model()).size());
  for (const Trainer* trainer : group.trainers) {
    for (const TrainedParameter& parameter : trainer->trained()) {
      if (out.size() <= parameter.index) out.resize(parameter.index + 1);
      const Tensor& values = parameter.*member;
      if (values.empty()) continue;
      out[parameter.index].push_back({parameter.first_element, values.view({values.size()})});
    }
    if (trainer->model().adapters.any()) break;  // every rank holds all of them
  }
  for (auto& pieces : out) std::ranges::sort(pieces, {}, &hub::TensorPiece::first);
  return out;
}

hub::Share share_of(const TrainerGroup& group) {
  if (group.processes.count == 1 || group.first().model().adapters.any()) return hub::Share::kAll;
  return group.processes.first() ? hub::Share::kHeaderAndPieces : hub::Share::kPieces;
}

std::string step_directory(const std::string& root, std::int64_t step) {
  return fmt::format("{}/step_{}", root, step);
}

std::optional<hub::DirectoryImage> checkpoint_image(const std::string& root, const TrainerGroup& group,
                                                    const CheckpointContent& content,
                                                    const std::string& run_id) {
  const Trainer& trainer = group.first();
  hub::DirectoryImage image;
  image.path = step_directory(root, content.progress.step);
  // Of several processes the first decides for all.
  if (group.processes.first() && std::filesystem::exists(image.path) && verifies(image.path))
    return std::nullopt;
  for (const auto& [name, member] : tensor_files(trainer)) image.add(name, image_of(group, member));
  const Trainer::State state = trainer.state();
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["step"] = state.step;
  json["updates"] = state.updates;
  json["nonfinite"] = state.nonfinite;
  json["skipped"] = state.skipped;
  if (trainer.optim().type != "adamw") json["optimizer"] = trainer.optim().type;
  json["progress"] = {{"step", content.progress.step},
                      {"total_tokens", content.progress.total_tokens},
                      {"total_samples", content.progress.total_samples}};
  if (trainer.model().adapters.any()) json["base"] = base_of(trainer);
  json["config_hash"] = content.config_hash;
  json["extra"] = nlohmann::ordered_json::parse(content.extra);
  image.add(kState, json.dump(1) + "\n");
  for (const CheckpointFile& file : content.files) image.add(file.name, file.content);
  const nlohmann::ordered_json facts = {{"kind", "checkpoint"},
                                        {"format", kFormat},
                                        {"step", content.progress.step},
                                        {"config_hash", content.config_hash},
                                        {"run_id", run_id}};
  image.facts = facts.dump();
  image.before_commit = [](durable::FileLayer&) { failpoint::hit("checkpoint.before_commit"); };
  image.after_commit = [root, step = content.progress.step](durable::FileLayer& files) {
    failpoint::hit("checkpoint.after_commit");
    write_latest(files, root, step);
  };
  return image;
}

void write_latest(durable::FileLayer& files, const std::string& root, std::int64_t step) {
  durable::write_file(files, root + "/latest", fmt::format("step_{}\n", step));
}

void save_checkpoint(durable::FileLayer& files, const std::string& root, const std::string& run_id,
                     const TrainerGroup& group, const CheckpointContent& content) {
  durable::make_directories(files, root);
  auto image = checkpoint_image(root, group, content, run_id);
  if (!image.has_value()) return;
  group.on_each([](Trainer& trainer) { trainer.synchronize(); });
  constexpr std::size_t kRing = 16 * hub::ImageWriter::kBlock;
  hub::ImageWriter writer(files, group.first().device(), kRing, hub::writer_threads(), hub::reader_threads());
  hub::WriteProgress progress;
  std::vector<hub::DirectoryImage> images;
  images.push_back(std::move(*image));
  writer.write(images, run_id, progress);
}

Restored load_checkpoint(const std::string& directory, const TrainerGroup& group) {
  const durable::VerifiedDirectory stored(directory);
  const std::string where = directory + "/" + kState;
  Restored restored;
  Trainer::State state;
  try {
    const auto json = parse_json_or_throw<nlohmann::ordered_json>(stored.read_all(kState));
    if (json.at("format").get<int>() != kFormat) {
      throw bad_input(where + " has another format",
                      fmt::format("{}, this version reads {}", json.at("format").dump(), kFormat),
                      "resume with the version of rlcpp that wrote it");
    }
    require_same_base(json, group.first(), where);
    require_same_optimizer(json, group.first(), where);
    state.step = json.at("step").get<std::int64_t>();
    state.updates = json.at("updates").get<std::int64_t>();
    state.nonfinite = json.at("nonfinite").get<std::int64_t>();
    state.skipped = json.at("skipped").get<std::int64_t>();
    const auto& progress = json.at("progress");
    restored.progress.step = progress.at("step").get<std::int64_t>();
    restored.progress.total_tokens = progress.at("total_tokens").get<std::int64_t>();
    restored.progress.total_samples = progress.at("total_samples").get<std::int64_t>();
    restored.config_hash = json.at("config_hash").get<std::string>();
    restored.extra = json.at("extra").dump();
  } catch (const nlohmann::json::exception& e) {
    throw bad_input(where + " is not the state of a checkpoint", json_problem(e), "resume from another step");
  }
  // Small files first: nothing of the trainers has changed if one of them is damaged.
  for (const std::string& name : stored.files()) {
    const auto is_this = [&](const auto& file) { return name == file.first; };
    if (std::ranges::none_of(tensor_files(group.first()), is_this)) stored.read_all(name);
  }
  group.on_each([](Trainer& trainer) { trainer.synchronize(); });
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const auto read = [&](const TrainerGroup& into) {
    std::vector<hub::TensorFileTarget> targets;
    for (const auto& [name, member] : tensor_files(into.first()))
      targets.push_back(target_of(name, into, member));
    hub::read_tensors(stored, targets, into.first().device(), static_cast<int>(std::min(cores, 8U)));
  };
  if (group.first().model().adapters.any()) {  // every rank holds all of them
    for (Trainer* trainer : group.trainers) read(*trainer);
  } else {
    read(group);
  }
  group.on_each([&](Trainer& trainer) {
    trainer.set_state(state);
    trainer.repack();
  });
  return restored;
}

std::int64_t resolve_resume_step(const std::string& root, std::int64_t wanted,
                                 std::vector<std::string>* skipped, bool checksums) {
  std::vector<std::string> reasons;
  if (skipped == nullptr) skipped = &reasons;
  if (wanted == -1) {
    if (const auto newest = durable::newest_step(root, skipped, checksums)) return *newest;
    throw bad_input(
        root + " holds no checkpoint to resume from",
        skipped->empty() ? "ckpt.resume_step is -1, the newest" : "passed over " + skipped->front(),
        "check output_dir; to start anew, leave ckpt.resume_step out, and add --clean if a run was there");
  }
  const std::vector<std::int64_t> steps = durable::committed_steps(root, skipped, checksums);
  if (std::find(steps.begin(), steps.end(), wanted) == steps.end()) {
    throw bad_input(fmt::format("{} holds no checkpoint of step {}", root, wanted),
                    steps.empty() ? "there is none at all" : fmt::format("steps: {}", fmt::join(steps, ", ")),
                    steps.empty()
                        ? "check output_dir; to start anew, leave ckpt.resume_step out, and add --clean if "
                          "a run was there"
                        : "set ckpt.resume_step to one of these, or to -1 for the newest");
  }
  return wanted;
}

std::vector<std::int64_t> prune_checkpoints(durable::FileLayer& files, const std::string& root,
                                            std::optional<std::int64_t> keep_last,
                                            std::optional<std::int64_t> keep_interval,
                                            std::int64_t just_written) {
  std::vector<std::int64_t> removed;
  if (!keep_last.has_value() && !keep_interval.has_value()) return removed;
  const std::vector<std::int64_t> steps = durable::committed_steps(root, nullptr, false);
  std::set<std::int64_t> keep = {just_written};
  if (const auto newest = durable::newest_step(root, nullptr)) keep.insert(*newest);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto from_end = static_cast<std::int64_t>(steps.size() - i);
    if (keep_last.has_value() && from_end <= *keep_last) keep.insert(steps[i]);
    if (keep_interval.has_value() && *keep_interval > 0 && steps[i] % *keep_interval == 0)
      keep.insert(steps[i]);
  }
  for (const std::int64_t step : steps) {
    if (keep.contains(step)) continue;
    durable::remove_tree(files, step_directory(root, step));
    removed.push_back(step);
  }
  return removed;
}

}  // namespace rlcpp::train
