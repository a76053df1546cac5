// The directory of a run, laid out as the reference does:
//   configs/resolved.toml    every value with its origin          logs/<producer>.log
//   metrics.jsonl            one line a step                      tensorboard/
//   checkpoints/step_N/      to resume                            weights/step_N/   Hugging Face format
//   nonfinite/               batches of skipped steps             loss.svg, ...     curves
//   rollouts/, broadcasts/   transport/files.h, and rollouts as text
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/log.h"

namespace rlcpp::app {

enum class OpenRun : std::uint8_t {
  kFresh,   // refuses a directory that another run has used
  kClean,   // removes what another run left there, and nothing else
  kResume,  // continues it
};

class RunDirectory {
 public:
  // Throws bad_input if kFresh meets a used directory, environment_error if it cannot be written or another
  // process works in it. Removes what killed processes left half written.
  RunDirectory(std::string path, OpenRun how, Logger& log);

  // Of a process other than the first: reads there, and leaves all else to the first.
  static RunDirectory follow(std::string path);
  bool follows() const { return follows_; }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string weights() const { return path_ + "/weights"; }
  std::string nonfinite() const { return path_ + "/nonfinite"; }
  // Names this process in temporary files.
  const std::string& run_id() const { return run_id_; }
  void set_run_id(std::string id) { run_id_ = std::move(id); }

  void write(const std::string& name, const std::string& content) const;  // whole or not at all

  // A run resumed from `step` makes later steps anew: entries step_M with M > step under checkpoints and
  // weights are renamed to before-<run id>.step_M, never deleted. Returns how many.
  int set_aside_after(std::int64_t step) const;

  // The checks of the constructor that need no writing; throws bad_input: a used directory with kFresh, with
  // kClean the root, the home and the current directory, and a used one that is_run() does not know.
  static void check(const std::string& path, OpenRun how);
  // True if `path` holds results of a run: what one wrote before its first step does not count, so that a
  // start that failed (no device, no memory, nobody to meet) can be repeated.
  static bool used(const std::string& path);

  // True if a run of ours was started in `path`: its lock and its configs/resolved.toml are there.
  static bool is_run(const std::string& path);

 private:
  RunDirectory() = default;

  std::string path_, run_id_;
  bool follows_ = false;
  std::shared_ptr<void>
      lock_;  // held while this process works in the directory; the kernel frees it whatever happens
};

}  // namespace rlcpp::app
