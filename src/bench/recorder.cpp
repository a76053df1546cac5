#include "bench/recorder.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "bench/runner.h"
#include "monitor/console.h"

namespace rlcpp::bench {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string with_range(const Summary& s, const char* pattern) {
  return fmt::format(
      fmt::runtime(std::string(pattern) + " ± " + pattern + " [" + pattern + ", " + pattern + "]"), s.mean,
      s.std, s.min, s.max);
}

}  // namespace

Recorder::Recorder(RecorderFacts facts) : facts_(std::move(facts)), clocks_(clock_readings()) {}

void Recorder::step(const StepSample& sample) {
  if (steps_.empty()) {
    first_step_seconds_ = seconds_since_process_start();
    first_step_begins_ = first_step_seconds_ - sample.step_seconds;
  }
  steps_.push_back(sample);
}

void Recorder::set_peak(double flops, std::string source) {
  facts_.peak_flops = flops;
  facts_.peak_source = std::move(source);
}

Result Recorder::result() const {
  if (steps_.size() < 2) {
    throw runtime_failure("the benchmark ran fewer than two steps",
                          fmt::format("{} ran; the first is warm-up", steps_.size()),
                          "raise --max-steps to at least 2");
  }
  Result r;
  r.config = facts_.config;
  r.config.success = true;
  r.config.timestamp = utc_timestamp();
  Extension e;
  std::vector<double> mfu, true_mfu, throughput;
  const double devices = static_cast<double>(r.config.num_gpus) * facts_.peak_flops;
  double peak_memory = 0, tokens = 0, flops = 0, seconds = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const StepSample& s = steps_[i];
    if (!std::isfinite(s.loss) || !(s.grad_norm > 0)) {
      throw runtime_failure(fmt::format("step {} of the benchmark did no real work", i),
                            fmt::format("its loss is {} and its gradient norm {}", s.loss, s.grad_norm),
                            "a benchmark row needs finite losses and non-zero gradients");
    }
    e.losses.push_back(s.loss);
    e.grad_norms.push_back(s.grad_norm);
    peak_memory = std::max(peak_memory, static_cast<double>(s.peak_memory_bytes));
    if (i == 0) continue;
    const double rate = static_cast<double>(s.tokens) / s.interval_seconds;
    throughput.push_back(rate);
    mfu.push_back(100 * reference_flops_per_token(facts_.shape, r.config.seq_len) * rate / devices);
    const double work = true_flops_of_row(facts_.shape, s.document_lengths);
    true_mfu.push_back(100 * work / s.interval_seconds / devices);
    e.step_seconds.push_back(s.step_seconds);
    tokens += static_cast<double>(s.tokens);
    flops += work;
    seconds += s.interval_seconds;
  }
  r.metrics.mfu = summarise(mfu);
  r.metrics.throughput = summarise(throughput);
  // Of all steps together: a mean of rates would count a slow step for less than the time it took.
  r.metrics.throughput.mean = tokens / seconds;
  r.metrics.mfu.mean =
      100 * reference_flops_per_token(facts_.shape, r.config.seq_len) * tokens / seconds / devices;
  r.metrics.step_time = summarise(e.step_seconds);
  r.metrics.peak_memory_gib = peak_memory / kGiB;
  r.metrics.peak_memory_pct =
      facts_.device_bytes > 0 ? 100 * peak_memory / static_cast<double>(facts_.device_bytes) : 0;
  e.true_mfu = summarise(true_mfu);
  e.true_mfu.mean = 100 * flops / seconds / devices;
  e.planned_memory_gib = static_cast<double>(facts_.planned_bytes) / kGiB;
  e.first_step_seconds = first_step_seconds_;
  e.first_step_begins = first_step_begins_;
  e.peak_tflops = facts_.peak_flops / 1e12;
  e.peak_source = facts_.peak_source;
  e.versions = facts_.versions;
  for (auto& [name, value] : system_versions()) e.versions.emplace(name, value);
  e.clocks = clocks_;
  for (const auto& [name, value] : clock_readings()) {
    if (name != "cores") e.clocks.emplace(name + "_after", value);
  }
  r.extension = std::move(e);
  return r;
}

std::string Recorder::table() const {
  const Result r = result();
  const double devices = static_cast<double>(r.config.num_gpus) * facts_.peak_flops;
  std::vector<std::vector<std::string>> rows = {{"Step", "MFU", "Throughput", "Step Time", "Peak Memory"}};
  for (std::size_t i = 1; i < steps_.size(); ++i) {
    const StepSample& s = steps_[i];
    const double rate = static_cast<double>(s.tokens) / s.interval_seconds;
    rows.push_back({std::to_string(i),
                    fmt::format("{:.2f}%", 100 * reference_flops_per_token(facts_.shape, r.config.seq_len) *
                                               rate / devices),
                    fmt::format("{:.0f} tokens/s", rate), fmt::format("{:.3f} s", s.step_seconds),
                    fmt::format("{:.2f} GiB", static_cast<double>(s.peak_memory_bytes) / kGiB)});
  }
  rows.push_back({"", "", "", "", ""});
  rows.push_back({"Overall", with_range(r.metrics.mfu, "{:.2f}") + " %",
                  with_range(r.metrics.throughput, "{:.0f}"),
                  with_range(r.metrics.step_time, "{:.3f}") + " s",
                  fmt::format("{:.2f} GiB ({:.1f}%)", r.metrics.peak_memory_gib, r.metrics.peak_memory_pct)});
  return "Benchmark\n" + monitor::table(rows);
}

double seconds_since_process_start() {
  // Field 22 of /proc/self/stat: start of the process in clock ticks since boot. The name in field 2 may hold
  // spaces.
  const std::string stat = first_line("/proc/self/stat");
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string word;
  for (int field = 3; field <= 22; ++field) fields >> word;
  double up = 0;
  std::istringstream(first_line("/proc/uptime")) >> up;
  return up - std::stod(word) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::map<std::string, std::string> clock_readings() {
  std::map<std::string, std::string> readings;
  const std::string base = "/sys/devices/system/cpu/cpu0/cpufreq/";
  if (const std::string rate = first_line(base + "scaling_cur_freq"); !rate.empty())
    readings["cpu0_khz"] = rate;
  if (const std::string governor = first_line(base + "scaling_governor"); !governor.empty())
    readings["governor"] = governor;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("cpu MHz")) {
      readings["cpu0_mhz"] = line.substr(line.find(':') + 2);
      break;
    }
  }
  readings["load"] = first_line("/proc/loadavg");
  readings["cores"] = std::to_string(std::thread::hardware_concurrency());
  return readings;
}

std::map<std::string, std::string> system_versions() {
  utsname system{};
  uname(&system);
  return {{"compiler", "g++ " __VERSION__}, {"libc", gnu_get_libc_version()}, {"kernel", system.release}};
}

}  // namespace rlcpp::bench
