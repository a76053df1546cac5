#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "model/checkpoint.h"
#include "tensor/copy.h"
#include "transport/files.h"

namespace rlcpp::transport {
namespace {

namespace fs = std::filesystem;

const failpoint::Registration kPublishPoints{"transport.publish.before_stable",
                                             "transport.publish.after_stable"};

constexpr const char* kStable = "STABLE";
constexpr const char* kMend = "the trainer writes this directory anew when it is resumed";

// Of the manifest's list of files, sizes and checksums: the same for the same weights, whoever wrote them.
std::uint32_t fingerprint_of(const std::string& directory) {
  const std::string path = directory + "/" + durable::kManifestName;
  const auto manifest = parse_json(durable::read_file(path));
  if (!manifest.is_object() || !manifest.contains("files")) {
    throw bad_input(path + " is not a manifest", "it has no list of files", kMend);
  }
  const std::string files = manifest["files"].dump();
  return durable::crc32c(std::as_bytes(std::span(files)));
}

Publication read_marker(const std::string& directory, std::int64_t step) {
  const std::string path = directory + "/" + kStable;
  const std::string text = durable::read_file(path);
  try {
    const auto marker = parse_json_or_throw(text);
    if (const auto said = whole_number<std::int64_t>(marker.at("step")); said != step)
      throw bad_input(path + " does not belong where it is", fmt::format("it is of step {}", said), kMend);
    return {marker.at("run").get<std::string>(), step,
            static_cast<std::uint32_t>(std::stoul(marker.at("fingerprint").get<std::string>(), nullptr, 16)),
            whole_number<std::int64_t>(marker.at("replay_from")), directory};
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {  // no JSON, or of another shape
    throw bad_input(path + " cannot be read", json_problem(e), kMend);
  }
}

}  // namespace

Publication FileWeightSender::publish(const model::ModelConfig& config, const model::WeightSet& weights,
                                      std::int64_t step, std::int64_t replay_from) {
  return publish(step, replay_from, [&](const std::string& directory) {
    model::save_model(config, weights, directory, dtype_, "", max_shard_bytes_);
  });
}

Publication FileWeightSender::publish(const model::ModelConfig& config,
                                      const std::vector<std::vector<hub::TensorPiece>>& weights,
                                      std::int64_t step, std::int64_t replay_from) {
  return publish(step, replay_from, [&](const std::string& directory) {
    model::save_model(config, weights, directory, dtype_, "", max_shard_bytes_);
  });
}

Publication FileWeightSender::publish(std::int64_t step, std::int64_t replay_from,
                                      const std::function<void(const std::string&)>& write) {
  Publication out{run_, step, 0, replay_from, step_path(root_, step)};
  durable::make_directories(files_, root_);
  durable::remove_tree(files_, out.directory);
  write(out.directory);
  out.fingerprint = fingerprint_of(out.directory);
  failpoint::hit("transport.publish.before_stable");
  const nlohmann::ordered_json marker = {{"run", run_},
                                         {"step", step},
                                         {"fingerprint", fmt::format("{:08x}", out.fingerprint)},
                                         {"replay_from", replay_from}};
  durable::write_file(files_, out.directory + "/" + kStable, marker.dump() + "\n");
  failpoint::hit("transport.publish.after_stable");
  return out;
}

void FileWeightSender::remove_after(std::int64_t step) {
  std::vector<std::int64_t> steps = steps_in(root_);
  for (auto later = steps.rbegin(); later != steps.rend() && *later > step; ++later)
    durable::remove_tree(files_, step_path(root_, *later));
}

void FileWeightSender::prune_before(std::int64_t step, const std::function<bool(std::int64_t)>& keep) {
  for (const std::int64_t old : steps_in(root_)) {
    if (old < step && !keep(old)) durable::remove_tree(files_, step_path(root_, old));
  }
}

std::optional<std::int64_t> FileWeightReceiver::newest(std::int64_t first, std::int64_t last) {
  const std::vector<std::int64_t> steps = steps_in(root_);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    std::error_code ignored;
    // Without the marker it is still being written, or its sender was killed.
    const bool stable = fs::exists(step_path(root_, *step) + "/" + kStable, ignored);
    if (stable && *step >= first && *step <= last) return *step;
  }
  return std::nullopt;
}

std::string FileWeightReceiver::newest_run() {
  const auto step = newest(0, std::numeric_limits<std::int64_t>::max());
  if (!step.has_value()) return {};
  try {
    return read_marker(step_path(root_, *step), *step).run;
  } catch (const Error&) {  // removed while it was read, or damaged, which load() says
    return {};
  }
}

Publication FileWeightReceiver::load(std::int64_t step, const model::ModelConfig& config,
                                     const model::WeightSet& spare, const model::WeightSet& live,
                                     ThreadPool* pool) {
  Publication out = read_marker(step_path(root_, step), step);
  if (const std::uint32_t found = fingerprint_of(out.directory); found != out.fingerprint) {
    throw bad_input(
        fmt::format("{} is not what its {} was written for", out.directory, kStable),
        fmt::format("the files have fingerprint {:08x}, the marker says {:08x}", found, out.fingerprint),
        kMend);
  }
  RLCPP_CHECK(spare.flat.size() == live.flat.size());
  model::load_weights(config, out.directory, spare, pool);
  for (std::size_t i = 0; i < live.flat.size(); ++i) copy(live.flat[i], spare.flat[i]);
  return out;
}

}  // namespace rlcpp::transport
