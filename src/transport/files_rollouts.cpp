#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/wait.h"
#include "transport/files.h"

namespace rlcpp::transport {
namespace {

namespace fs = std::filesystem;

const failpoint::Registration kSendPoints{"transport.send.before_commit", "transport.send.after_commit"};

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

std::string step_path(const std::string& root, std::int64_t step) {
  return fmt::format("{}/step_{}", root, step);
}

std::vector<std::int64_t> steps_in(const std::string& root) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::int64_t step = 0;
    if (!name.starts_with("step_")) continue;
    const char* last = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + 5, last, step);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == last && step >= 0;
    if (whole && name == fmt::format("step_{}", step)) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

void FileRolloutSender::send(std::span<const RolloutBatch> ranks, std::string_view state) {
  RLCPP_CHECK(!ranks.empty());
  const std::int64_t step = ranks.front().step;
  durable::AtomicDirectory out(files_, step_path(root_, step), run_id_);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    RLCPP_CHECK(ranks[r].step == step && ranks[r].rank == static_cast<std::int64_t>(r) &&
                ranks[r].ranks == static_cast<std::int64_t>(ranks.size()));
    out.add(fmt::format("rank_{}.bin", r), encode(ranks[r]));
  }
  out.add("state.json", state);
  failpoint::hit("transport.send.before_commit");
  out.commit(nlohmann::json{{"kind", "rollouts"}, {"step", step}}.dump());
  failpoint::hit("transport.send.after_commit");
}

std::optional<FileRolloutSender::State> FileRolloutSender::newest_state(
    std::optional<std::int64_t> wanted, std::vector<std::string>* skipped) const {
  std::vector<std::int64_t> steps = steps_in(root_);
  const bool missing = wanted.has_value() && std::find(steps.begin(), steps.end(), *wanted) == steps.end();
  if (missing) {
    std::string there;
    for (const std::int64_t step : steps) there += fmt::format("{}{}", there.empty() ? "" : ", ", step);
    throw bad_input(fmt::format("{} has no step_{}", root_, *wanted),
                    there.empty() ? "it has no step at all" : "it has the steps " + there,
                    "choose one of these, or -1 for the newest");
  }
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (wanted.has_value() && *step != *wanted) continue;
    const std::string path = step_path(root_, *step);
    try {
      durable::verify_directory(path);
      return State{*step, durable::read_file(path + "/state.json")};
    } catch (const Error& e) {
      if (wanted.has_value()) throw;
      if (skipped != nullptr) skipped->push_back(fmt::format("{}: {}", e.what(), e.because()));
    }
  }
  return std::nullopt;
}

int FileRolloutSender::set_aside_after(std::int64_t step) {
  std::vector<std::int64_t> steps = steps_in(root_);
  int moved = 0;
  for (auto later = steps.rbegin(); later != steps.rend() && *later > step; ++later, ++moved)
    files_.rename(step_path(root_, *later), fmt::format("{}/before-{}.step_{}", root_, run_id_, *later));
  if (moved > 0) files_.sync_directory(root_);
  return moved;
}

void FileRolloutSender::prune_before(std::int64_t step, const std::function<bool(std::int64_t)>& keep) {
  for (const std::int64_t old : steps_in(root_)) {
    if (old < step && !keep(old)) durable::remove_tree(files_, step_path(root_, old));
  }
}

std::optional<RolloutBatch> FileRolloutReceiver::receive(std::int64_t step, const WaitOptions& options) {
  const std::string path = fmt::format("{}/rank_{}.bin", step_path(root_, step), rank_);
  Wait wait("the orchestrator", fmt::format("rollouts of step {} in {}", step, root_), options.soft,
            options.hard);
  std::optional<fs::file_time_type> foreign;  // of another run, and of this time
  std::string refusal;
  while (!options.stop || !options.stop()) {
    std::error_code ignored;
    const fs::file_time_type written = fs::last_write_time(path, ignored);
    if (is_there(path) && foreign != written) {
      RolloutBatch batch = decode(durable::read_file(path), path);
      if (batch.step != step || batch.rank != rank_) {
        throw bad_input(path + " does not belong where it is",
                        fmt::format("it is for step {} of rank {}", batch.step, batch.rank),
                        "remove the step's directory, and start the orchestrator again");
      }
      if (batch.run == run_) return batch;
      foreign = written;
      if (refusal.empty() && options.refused) options.refused(path + " is of another run of the trainer");
      refusal = path + " is of another run of the trainer: start the orchestrator with --clean";
    }
    if (!foreign.has_value() && is_there(step_path(root_, step)) && !is_there(path)) {
      throw bad_input(fmt::format("{} has no rank_{}.bin", step_path(root_, step), rank_),
                      "the step was packed for fewer ranks, or somebody removed the file",
                      "start trainer and orchestrator for the same number of ranks");
    }
    const std::vector<std::int64_t> steps = steps_in(root_);
    if (!foreign.has_value() && !steps.empty() && steps.back() > step && !is_there(path)) {
      throw bad_input(
          fmt::format("the rollouts of step {} are gone from {}", step, root_),
          fmt::format("the newest there are of step {}", steps.back()),
          fmt::format("resume the orchestrator from step {} too (--ckpt.resume-step {}), or the trainer from "
                      "a later checkpoint",
                      step - 1, step - 1));
    }
    try {
      wait.check();
    } catch (const Error& e) {
      if (refusal.empty()) throw;
      throw Error(e.code(), e.what(), e.because() + "; " + refusal, e.help());
    }
    std::this_thread::sleep_for(options.poll);
  }
  return std::nullopt;
}

}  // namespace rlcpp::transport
