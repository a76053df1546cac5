// Speed of the collectives that training uses, in the figures of nccl-tests: algorithm bandwidth is the bytes
// of the whole tensor by time, bus bandwidth is that times 2 (n - 1) / n for all_reduce and (n - 1) / n for
// reduce_scatter and all_gather: what a link carries, whatever the number of ranks.
//   bench_collectives [--device cpu|cuda] [--devices N] [--mib 32,256,1024] [--repeats N] [--json FILE]
// N: ranks of this process (GPUs 0 to N - 1, or threads); several processes are found as rlcpp finds them.
// FILE gets the same figures as benchmarks/collectives has them (bench/collectives.h).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "dist/world.h"
#include "tensor/arena.h"

namespace rlcpp::dist {
namespace {

struct Plan {
  std::vector<std::int64_t> mib = {32, 256, 1024};
  int repeats = 20;
  std::string json;  // file of the figures; empty: none
};

// Calls of one sample, one after the other as in a step; the host waits for the last.
constexpr int kCalls = 5;

// Median seconds of one call. A sample begins at a barrier, so that no rank waits for another's start.
template <class Call>
double seconds_of(Communicator& c, int repeats, const Call& call) {
  std::vector<double> times;
  for (int i = 0; i < repeats + 3; ++i) {
    c.barrier("start");
    const auto begin = std::chrono::steady_clock::now();
    Ticket last;
    for (int k = 0; k < kCalls; ++k) last = call();
    last.wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i >= 3) times.push_back(seconds / kCalls);
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

void measure(Communicator& c, const Plan& plan) {
  const std::int64_t ranks = c.size();
  nlohmann::ordered_json figures = nlohmann::ordered_json::array();
  for (const std::int64_t mib : plan.mib) {
    for (const DType type : {DType::kF32, DType::kBF16}) {
      const std::int64_t n = (mib << 20) / static_cast<std::int64_t>(size_of(type)) / ranks * ranks;
      MemoryPlan memory;
      const RegionId whole_id = memory.add(MemoryUse::kCommunication, "whole", type, {n});
      const Arena arena(memory, c.device());
      const Tensor whole = arena[whole_id], part = whole.rows(c.rank() * (n / ranks), n / ranks);
      const auto row = [&](const char* name, double factor, double seconds) {
        if (c.rank() != 0) return;
        const double gigabytes = static_cast<double>(whole.bytes()) / 1e9;
        std::printf("%-14s %5lld MiB %-4s  %9.1f us  %7.2f GB/s algorithm  %7.2f GB/s bus\n", name,
                    static_cast<long long>(mib), std::string(rlcpp::name_of(type)).c_str(), seconds * 1e6,
                    gigabytes / seconds, gigabytes / seconds * factor);
        std::fflush(stdout);
        figures.push_back({{"collective", name},
                           {"type", std::string(rlcpp::name_of(type))},
                           {"bytes", whole.bytes()},
                           {"seconds", seconds}});
      };
      const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
      row("all_reduce", 2 * share,
          seconds_of(c, plan.repeats, [&] { return c.all_reduce(whole, Reduction::kSum, "all_reduce"); }));
      row("reduce_scatter", share, seconds_of(c, plan.repeats, [&] {
            return c.reduce_scatter(part, whole, Reduction::kSum, "reduce_scatter");
          }));
      row("all_gather", share,
          seconds_of(c, plan.repeats, [&] { return c.all_gather(whole, part, "all_gather"); }));
    }
  }
  if (c.rank() != 0 || plan.json.empty()) return;
  std::string why;
  const bool gpu = c.device().kind == DeviceKind::kCuda;
  const std::vector<GpuInfo> gpus = gpu ? cuda::gpus(&why) : std::vector<GpuInfo>{};
  char date[sizeof "YYYY-MM-DD"] = {};
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%F", std::gmtime(&now));
  const nlohmann::ordered_json file = {{"device_name", gpus.empty() ? cpu_name() : gpus.front().name},
                                       {"num_gpus", ranks},
                                       {"carrier", c.description()},
                                       {"date", date},
                                       {"figures", figures}};
  durable::write_file(durable::system_files(), plan.json, file.dump(1) + "\n");
}

int run(int count, char** arguments) {
  std::map<std::string, std::string> options;
  for (int i = 1; i + 1 < count; i += 2) options[arguments[i]] = arguments[i + 1];
  Plan plan;
  if (options.contains("--mib")) {
    plan.mib.clear();
    std::istringstream in(options["--mib"]);
    for (std::string size; std::getline(in, size, ',');) plan.mib.push_back(std::stoll(size));
  }
  plan.json = options["--json"];
  if (options.contains("--repeats")) plan.repeats = std::max(1, std::stoi(options["--repeats"]));
  LaunchRequest request;
  if (options.contains("--devices")) {
    for (int i = 0; i < std::stoi(options["--devices"]); ++i) request.devices.push_back(i);
  }
  WorldOptions world_options;
  world_options.launch = find_launch(request);
  if (options["--device"] == "cuda") world_options.device = DeviceKind::kCuda;
  World world(world_options);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(world.local_ranks()));
  std::vector<std::thread> threads;
  for (int local = 0; local < world.local_ranks(); ++local) {
    threads.emplace_back([&, local] {
      try {
        const auto communicator = world.join(local);
        if (communicator->rank() == 0) {
          std::printf("%d ranks, %s, found by: %s\n", world.size(), communicator->description().c_str(),
                      world_options.launch.source.c_str());
        }
        measure(*communicator, plan);
      } catch (...) {
        errors[static_cast<std::size_t>(local)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return 0;
}

}  // namespace
}  // namespace rlcpp::dist

int main(int count, char** arguments) {
  try {
    return rlcpp::dist::run(count, arguments);
  } catch (const rlcpp::Error& error) {
    std::fputs(error.render().c_str(), stderr);
    return static_cast<int>(error.code());
  }
}
