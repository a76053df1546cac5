#include "bench/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>

#include "base/durable.h"
#include "base/error.h"
#include "bench/process.h"

namespace rlcpp::bench {
namespace {

namespace fs = std::filesystem;

// Whether this row's result is among those already there: measured well by this very commit, on this device,
// by the same command as often as now. A program built from changed files is never the same as another.
bool already_there(const std::vector<Result>& known, const PlannedRow& row, const RunnerOptions& options) {
  if (options.commit_sha.find('+') != std::string::npos) return false;
  return std::any_of(known.begin(), known.end(), [&](const Result& r) {
    const RunConfig& c = r.config;
    const RunConfig& p = row.config;
    return c.success && c.commit_sha == options.commit_sha && c.device_name == options.device_name &&
           c.model_name == p.model_name && c.type == p.type && c.seq_len == p.seq_len && c.ac == p.ac &&
           c.lora_rank == p.lora_rank && c.num_gpus == p.num_gpus && c.memory_limit == p.memory_limit &&
           c.publication == p.publication && c.scaling == p.scaling && c.numeric_mode == p.numeric_mode &&
           c.micro_batches == p.micro_batches && r.extension.has_value() &&
           r.extension->repeats == options.repeats && r.extension->command == recorded_command(row);
  });
}

Result failure(const PlannedRow& row, const RunnerOptions& options, const std::string& reason,
               double seconds) {
  Result result;
  result.config = row.config;
  result.config.device_name = options.device_name;
  result.config.commit_sha = options.commit_sha;
  result.config.timestamp = utc_timestamp();
  result.config.success = false;
  result.config.error_reason = reason;
  result.config.time_taken = seconds;
  return result;
}

// What is left of the time for all rows.
class Budget {
 public:
  explicit Budget(double seconds) : seconds_(seconds) {}
  bool limited() const { return seconds_ > 0; }
  double left() const {
    return seconds_ - std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  bool over() const { return limited() && left() <= 0; }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// One process; the row's own JSON, completed with what only the parent knows.
Result measure(const PlannedRow& row, const RunnerOptions& options, const Budget& budget,
               const std::string& progress) {
  const std::string log = options.results + "/logs/" + row.id + ".log";
  const std::string output = options.results + "/logs/" + row.id + ".json";
  std::error_code ignored;
  fs::remove(output, ignored);
  std::vector<std::string> command = {options.program};
  command.insert(command.end(), row.arguments.begin(), row.arguments.end());
  command.insert(command.end(), {"--bench.output-json", output});

  double next_line = 60;
  const ChildResult child =
      run_child(command, log, static_cast<double>(row.config.timeout), [&](double elapsed) {
        if (elapsed >= next_line) {
          options.say(fmt::format("{} {}: running for {:.0f} s (time-out {} s)", progress, row.id, elapsed,
                                  row.config.timeout));
          next_line += 60;
        }
        return options.keep_going() && !budget.over();
      });
  std::string reason = child.reason();
  if (child.stopped) throw Error(ExitCode::kStopped, reason);
  if (reason.empty() && !fs::exists(output)) reason = "it ended well but wrote no result";
  if (!reason.empty()) return failure(row, options, reason, child.seconds);
  Result result = from_json(durable::read_file(output), output);
  result.config.timeout = row.config.timeout;
  result.config.time_taken = child.seconds;
  result.config.success = true;
  result.config.model_name = row.config.model_name;
  result.config.scaling = row.config.scaling;
  if (result.extension) {
    result.extension->command = recorded_command(row);
    result.extension->repeats = options.repeats;
  }
  fs::remove(output, ignored);
  return result;
}

Result median_of(std::vector<Result> results) {
  std::sort(results.begin(), results.end(), [](const Result& a, const Result& b) {
    return a.metrics.throughput.mean < b.metrics.throughput.mean;
  });
  return results[results.size() / 2];
}

}  // namespace

std::vector<std::string> recorded_command(const PlannedRow& row) {
  std::vector<std::string> command = {"rlcpp"};
  command.insert(command.end(), row.arguments.begin(), row.arguments.end());
  return command;
}

std::string utc_timestamp() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

RunnerOutcome run_matrix(const std::vector<PlannedRow>& rows, const RunnerOptions& options) {
  fs::create_directories(options.results + "/logs");
  const std::vector<Result> known = read_directory(options.results);
  RunnerOutcome outcome;
  std::map<std::string, std::string> written;  // result files of this run, by whose row
  const Budget budget(options.seconds);
  std::size_t number = 0;
  for (PlannedRow row : rows) {
    // Decided by the device, not by the matrix, unless it says so.
    if (row.config.numeric_mode.empty()) row.config.numeric_mode = options.numeric_mode;
    const std::string progress = fmt::format("[{}/{}]", ++number, rows.size());
    if (!options.keep_going()) {
      outcome.stopped = true;
      break;
    }
    if (!options.fresh && already_there(known, row, options)) {
      options.say(fmt::format("{} {}: has a result of {}, skipped", progress, row.id, options.commit_sha));
      ++outcome.skipped;
      continue;
    }
    const auto leave_out = [&](std::string why) {
      options.say(fmt::format("{} {}: left out: {}", progress, row.id, why));
      outcome.left_out.push_back({row.id, std::move(why)});
    };
    const double expected = row.expected * static_cast<double>(options.repeats);
    if (budget.limited() && budget.left() < expected) {
      leave_out(fmt::format("it is expected to take {:.0f} s, and {:.0f} s are left", expected,
                            std::max(0.0, budget.left())));
      continue;
    }
    options.say(fmt::format("{} {}: starting", progress, row.id));
    std::vector<Result> results;
    std::optional<Result> failed;
    try {
      for (std::int64_t repeat = 0; repeat < options.repeats && !failed; ++repeat) {
        Result result = measure(row, options, budget, progress);
        if (result.config.success) {
          results.push_back(std::move(result));
        } else {
          failed = std::move(result);
        }
      }
    } catch (const Error& stopped) {
      if (stopped.code() != ExitCode::kStopped) throw;
      if (options.keep_going()) {
        leave_out("it was stopped when the time was over");
        continue;
      }
      outcome.stopped = true;
      break;
    }
    const Result kept = failed ? *failed : median_of(std::move(results));
    const std::string name = kept.config.file_name();
    if (const auto [before, is_new] = written.emplace(name, row.id); !is_new) {
      throw bad_input(
          fmt::format("the rows {} and {} have one result file, {}", before->second, row.id, name),
          "what tells them apart is in `extra` alone, so the second would overwrite the first",
          "use the keys of a row for it, or measure them into two directories (--results)");
    }
    durable::write_file(durable::system_files(), options.results + "/" + name, to_json(kept));
    if (failed) {
      ++outcome.failed;
      options.say(fmt::format("{} {}: failed: {}", progress, row.id, kept.config.error_reason));
    } else {
      ++outcome.done;
      options.say(fmt::format("{} {}: {:.0f} tokens/s, {:.3f} s a step, {:.2f} GiB, {:.0f} s in all",
                              progress, row.id, kept.metrics.throughput.mean, kept.metrics.step_time.mean,
                              kept.metrics.peak_memory_gib, kept.config.time_taken));
    }
  }
  return outcome;
}

}  // namespace rlcpp::bench
