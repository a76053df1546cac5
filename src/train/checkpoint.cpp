#include "train/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "hub/safetensors.h"
#include "tensor/copy.h"

namespace rlcpp::train {
namespace {

constexpr int kFormat = 1;
const char* const kState = "trainer/state.json";
const failpoint::Registration kPoints{"checkpoint.before_commit", "checkpoint.after_commit"};

// One HF tensor inside a fused parameter: consecutive rows, so one run of bytes.
Tensor slice_of(const Tensor& stored, const model::HfSlice& slice) {
  return stored.rows(slice.row, slice.shape.at(0));
}

using Member = Tensor TrainedParameter::*;

void write_set(durable::AtomicDirectory& directory, const std::string& name,
               const std::vector<TrainedParameter>& trained, Member member) {
  std::vector<hub::StoredTensor> tensors;
  std::vector<Tensor> sources;
  for (const TrainedParameter& parameter : trained) {
    for (const model::HfSlice& slice : parameter.slices) {
      const Tensor source = slice_of(parameter.*member, slice);
      hub::StoredTensor t;
      t.name = slice.name;
      t.dtype = source.dtype();
      t.shape = slice.shape;
      t.bytes = source.bytes();
      tensors.push_back(std::move(t));
      sources.push_back(source);
    }
  }
  durable::AtomicDirectory::Writer writer = directory.create(name);
  const std::string header = hub::safetensors_header(tensors, {{"format", "rlcpp"}});
  writer.write(std::as_bytes(std::span(header)));
  std::vector<std::byte> bytes;
  for (const Tensor& source : sources) {
    bytes.resize(source.bytes());
    copy(Tensor(bytes.data(), source.dtype(), source.shape()), source);
    writer.write(bytes);
  }
  writer.finish();
}

void read_set(const std::string& path, const std::vector<TrainedParameter>& trained, Member member) {
  const hub::SafetensorsFile file(path);
  const auto& stored = file.tensors();
  std::size_t expected = 0;
  for (const TrainedParameter& parameter : trained) {
    for (const model::HfSlice& slice : parameter.slices) {
      ++expected;
      const auto it = stored.find(slice.name);
      if (it == stored.end()) {
        throw bad_input(fmt::format("{}: tensor {} is missing", path, slice.name),
                        "the checkpoint was written by a run with another model",
                        "resume with the model of that run");
      }
      const Tensor place = slice_of(parameter.*member, slice);
      if (it->second.shape != slice.shape || it->second.dtype != place.dtype()) {
        throw bad_input(
            fmt::format("{}: tensor {} does not fit", path, slice.name),
            fmt::format("stored [{}] {}, the run has [{}] {}", fmt::join(it->second.shape, ", "),
                        name_of(it->second.dtype), fmt::join(slice.shape, ", "), name_of(place.dtype())),
            "resume with the model of that run");
      }
      // The mapped bytes may lie at any address; a tensor's memory is only copied from.
      auto* stored_bytes = const_cast<std::byte*>(file.bytes(it->second).data());
      copy(place, Tensor(stored_bytes, place.dtype(), place.shape()));
    }
  }
  if (stored.size() != expected) {
    throw bad_input(fmt::format("{} holds tensors that the model does not have", path),
                    fmt::format("{} stored, {} expected", stored.size(), expected),
                    "resume with the model of that run");
  }
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

std::string step_directory(const std::string& root, std::int64_t step) {
  return fmt::format("{}/step_{}", root, step);
}

void save_checkpoint(durable::FileLayer& files, const std::string& root, const std::string& run_id,
                     Trainer& trainer, const CheckpointContent& content) {
  const std::string path = step_directory(root, content.progress.step);
  durable::make_directories(files, root);
  if (std::filesystem::exists(path) && verifies(path)) return;
  durable::AtomicDirectory directory(files, path, run_id);
  write_set(directory, "trainer/weights.safetensors", trainer.trained(), &TrainedParameter::master);
  write_set(directory, "trainer/exp_avg.safetensors", trainer.trained(), &TrainedParameter::first);
  write_set(directory, "trainer/exp_avg_sq.safetensors", trainer.trained(), &TrainedParameter::second);
  const Trainer::State state = trainer.state();
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["step"] = state.step;
  json["updates"] = state.updates;
  json["nonfinite"] = state.nonfinite;
  json["skipped"] = state.skipped;
  json["progress"] = {{"step", content.progress.step},
                      {"total_tokens", content.progress.total_tokens},
                      {"total_samples", content.progress.total_samples}};
  if (trainer.model().adapters.any()) json["base"] = base_of(trainer);
  json["config_hash"] = content.config_hash;
  json["extra"] = nlohmann::ordered_json::parse(content.extra);
  directory.add(kState, json.dump(1) + "\n");
  for (const CheckpointFile& file : content.files) directory.add(file.name, file.content);
  failpoint::hit("checkpoint.before_commit");
  const nlohmann::ordered_json facts = {{"kind", "checkpoint"},
                                        {"format", kFormat},
                                        {"step", content.progress.step},
                                        {"config_hash", content.config_hash},
                                        {"run_id", run_id}};
  directory.commit(facts.dump());
  failpoint::hit("checkpoint.after_commit");
  // A hint for people and scripts; readers take the highest directory that verifies.
  durable::write_file(files, root + "/latest", fmt::format("step_{}\n", content.progress.step));
}

Restored load_checkpoint(const std::string& directory, Trainer& trainer) {
  durable::verify_directory(directory);
  const std::string where = directory + "/" + kState;
  Restored restored;
  Trainer::State state;
  try {
    const auto json = nlohmann::ordered_json::parse(durable::read_file(where));
    if (json.at("format").get<int>() != kFormat) {
      throw bad_input(where + " has another format",
                      fmt::format("{}, this version reads {}", json.at("format").dump(), kFormat),
                      "resume with the version of rlcpp that wrote it");
    }
    require_same_base(json, trainer, where);
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
    throw bad_input(where + " is not the state of a checkpoint", e.what(), "resume from another step");
  }
  read_set(directory + "/trainer/weights.safetensors", trainer.trained(), &TrainedParameter::master);
  read_set(directory + "/trainer/exp_avg.safetensors", trainer.trained(), &TrainedParameter::first);
  read_set(directory + "/trainer/exp_avg_sq.safetensors", trainer.trained(), &TrainedParameter::second);
  trainer.set_state(state);
  trainer.repack();
  return restored;
}

std::int64_t resolve_resume_step(const std::string& root, std::int64_t wanted,
                                 std::vector<std::string>* skipped) {
  if (wanted == -1) {
    if (const auto newest = durable::newest_step(root, skipped)) return *newest;
    throw bad_input(root + " holds no checkpoint to resume from", "ckpt.resume_step is -1, the newest",
                    "check output_dir, or leave ckpt.resume_step out to start anew");
  }
  const std::vector<std::int64_t> steps = durable::committed_steps(root, skipped);
  if (std::find(steps.begin(), steps.end(), wanted) == steps.end()) {
    throw bad_input(fmt::format("{} holds no checkpoint of step {}", root, wanted),
                    steps.empty() ? "there is none at all" : fmt::format("steps: {}", fmt::join(steps, ", ")),
                    steps.empty() ? "check output_dir, or leave ckpt.resume_step out to start anew"
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
