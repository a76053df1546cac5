#include "app/run_ranks.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/run_lora.h"
#include "base/error.h"
#include "train/exchange.h"

namespace rlcpp::app {

void DistSection::describe(config::Schema& s) {
  s.field("ranks", ranks,
          "Ranks of this process, each with a part of every batch and of the model's state: on a GPU machine "
          "the "
          "GPUs 0 to N - 1, on a CPU groups of threads.")
      .at_least(1)
      .at_most(256);
  s.field("devices", devices, "The GPUs of this process by their numbers, in place of dist.ranks.");
  s.field("zero", zero,
          "What ranks do not hold whole: 1 optimizer state, 2 gradients too, 3 weights too; None: the lowest "
          "that "
          "fits the memory.")
      .at_least(1)
      .at_most(3);
  s.field("processes", processes,
          "Processes of the run; None: what srun, torchrun or mpirun say in the environment.")
      .at_least(1)
      .at_most(65536);
  s.field("process", process, "Which of them this is, from 0; None: as above.").at_least(0).at_most(65535);
  s.field("address", address,
          "Where processes meet: HOST:PORT of process 0, or file:PATH on one machine; None: the launcher's.");
  s.field("run_id", run_id,
          "Name of the run: a process that comes with another is refused; None: the launcher's job.");
  s.field("timeout", timeout,
          "A collective that makes no progress for so long ends the run on every rank, with the name of the "
          "rank "
          "that is awaited.")
      .at_least(1)
      .at_most(1e6)
      .in("seconds");
  s.field(
       "idle_timeout", idle_timeout,
       "No rank does anything for so long, in no collective: ends the run on every rank, with what each last "
       "did.")
      .at_least(1)
      .at_most(1e6)
      .in("seconds");
  s.field("start_timeout", start_timeout, "Longest wait until all processes have met.")
      .at_least(1)
      .at_most(1e6)
      .in("seconds");
}

namespace {

// --device cuda:N names the GPU of one rank.
void require_one_gpu(const std::string& device, const DistSection& section, int processes) {
  if (!device.starts_with("cuda:")) return;
  const bool same = section.devices.size() == 1 && device == fmt::format("cuda:{}", section.devices.front());
  if (section.ranks == 1 && (same || (section.devices.empty() && processes == 1))) return;
  const std::string other = !section.devices.empty()
                                ? fmt::format("dist.devices = [{}]", fmt::join(section.devices, ", "))
                            : section.ranks > 1 ? fmt::format("dist.ranks = {}", section.ranks)
                                                : fmt::format("{} processes", processes);
  throw bad_input(fmt::format("--device {} and {} contradict each other", device, other),
                  "the one names a single GPU, the other says which GPUs the ranks have",
                  "use --device cuda, and dist.devices where the GPUs are not the first ones");
}

}  // namespace

RankSetup find_ranks(const DistSection& section, Device chosen, const std::string& device) {
  RankSetup setup;
  setup.device = chosen.kind;
  setup.zero = section.zero;
  dist::LaunchRequest request;
  if (section.processes) request.processes = static_cast<int>(*section.processes);
  if (section.process) request.process = static_cast<int>(*section.process);
  request.address = section.address.value_or("");
  request.run_id = section.run_id.value_or("");
  const bool gpu = chosen.kind == DeviceKind::kCuda;
  if (!section.devices.empty()) {
    if (!gpu) {
      throw bad_input("dist.devices names GPUs, and this run is on the CPU", "",
                      "set dist.ranks for groups of threads, or --device cuda");
    }
    if (section.ranks != 1 && section.ranks != static_cast<std::int64_t>(section.devices.size())) {
      throw bad_input("dist.ranks and dist.devices contradict each other",
                      fmt::format("{} ranks, {} devices", section.ranks, section.devices.size()),
                      "set one of them");
    }
    for (const std::int64_t given : section.devices) {
      const int index = static_cast<int>(given);
      if (index < 0)
        throw bad_input(fmt::format("dist.devices: there is no GPU {}", index), "", "count from 0");
      if (std::find(request.devices.begin(), request.devices.end(), index) != request.devices.end()) {
        throw bad_input(fmt::format("dist.devices names GPU {} twice", index), "a rank has a GPU of its own",
                        "name each once");
      }
      request.devices.push_back(index);
    }
  } else if (section.ranks > 1) {
    for (int i = 0; i < static_cast<int>(section.ranks); ++i) request.devices.push_back(gpu ? i : 0);
  }
  setup.launch = dist::find_launch(request);
  require_one_gpu(device, section, setup.launch.processes);
  if (section.address.has_value() && !section.processes.has_value() && !setup.launch.launched) {
    throw bad_input(
        "dist.address is where several processes meet, and this process knows of no other",
        "neither dist.processes nor srun, torchrun or mpirun says how many there are",
        "add --dist.processes N --dist.process I, or leave dist.address out; dist.ranks alone makes ranks "
        "of one process");
  }
  // One rank alone has the device that was chosen by name.
  if (setup.count() == 1 && section.devices.empty()) setup.launch.devices = {chosen.index};
  setup.deadlines.collective = std::chrono::seconds(section.timeout);
  setup.deadlines.start = std::chrono::seconds(section.start_timeout);
  setup.deadlines.idle = std::chrono::seconds(section.idle_timeout);
  return setup;
}

void warn_of_idle(const DistSection& section, const RankSetup& setup, bool adapters,
                  std::int64_t micro_batches, Logger& log) {
  if (!setup.first()) return;
  if (section.zero.has_value() && (setup.count() == 1 || adapters)) {
    log.warn(fmt::format("dist.zero = {} changes nothing: {}", *section.zero,
                         setup.count() == 1 ? "there is one rank, which holds all"
                                            : "with model.lora every rank holds the base and all adapters"));
  }
  if (setup.launch.processes == 1 && (section.address.has_value() || section.run_id.has_value())) {
    log.warn(fmt::format("dist.{} changes nothing: there is one process, which meets nobody",
                         section.address.has_value() ? "address" : "run_id"));
  }
  if (micro_batches > 0) warn_of_idle_ranks(setup, micro_batches, log);
}

void warn_of_idle_ranks(const RankSetup& setup, std::int64_t micro_batches, Logger& log) {
  const std::int64_t ranks = setup.count();
  if (!setup.first() || micro_batches % ranks == 0) return;
  const std::int64_t idle = ranks - micro_batches % ranks;
  std::vector<std::string> fitting;  // numbers of ranks that divide the step
  for (std::int64_t n = ranks - 1; n > 0 && fitting.empty(); --n) {
    if (micro_batches % n == 0) fitting.push_back(std::to_string(n));
  }
  for (std::int64_t n = ranks + 1; n <= micro_batches; ++n) {
    if (micro_batches % n != 0) continue;
    fitting.push_back(std::to_string(n));
    break;
  }
  const std::string where =
      micro_batches < ranks ? "have nothing to compute" : "have nothing to compute at the end of each step";
  log.warn(fmt::format(
      "{} of {} ranks {}: a step has {} micro-batch{}, each for one rank; {}{} would share them evenly, "
      "and so would {} micro-batches",
      idle, ranks, where, micro_batches, micro_batches == 1 ? "" : "es", fmt::join(fitting, " or "),
      fitting.back() == "1" ? " rank" : " ranks", (micro_batches / ranks + 1) * ranks));
}

Device RankSetup::device_of(int local) const {
  if (device == DeviceKind::kCpu) return {};
  return {device, launch.devices.at(static_cast<std::size_t>(local))};
}

// NCCL: 0.80 to 0.86 GiB measured beside the plan on two H100 (2.28.9). CPU ranks of a process share its
// memory.
std::size_t RankSetup::limit_for_plan(std::size_t limit) const {
  constexpr std::size_t kNccl = std::size_t{880} << 20;
  if (limit == 0 || count() == 1) return limit;
  if (device == DeviceKind::kCpu) return std::max<std::size_t>(1, limit / static_cast<std::size_t>(local()));
  return limit > kNccl ? limit - kNccl : 1;
}

dist::WorldOptions RankSetup::world_options() const {
  dist::WorldOptions options;
  options.launch = launch;
  options.device = device;
  options.deadlines = deadlines;
  return options;
}

train::Sharding RankSetup::sharding(int local, int level) const {
  return {count(), launch.first_rank() + local, level};
}

RankPlan plan_rank(const ops::Context& ctx, const model::ModelConfig& config,
                   const train::TrainerOptions& options, std::int64_t seq_len) {
  const std::int64_t positions = std::min(seq_len, config.max_position);
  RankPlan out;
  if (options.sharding.any() && !config.adapters.any()) {
    require_no_dropout(ctx, config);
    out.sharded = train::plan_sharded_weights(ctx, config, options.sharding, out.plan,
                                              options.optimizer_on_host && ctx.on_gpu());
    out.model.rope = model::plan_rope(config, out.plan, positions);
  } else {
    out.model = plan_model(ctx, config, out.plan, positions, options.optimizer_on_host);
  }
  out.trainer = train::Trainer::plan(ctx, config, options, out.plan);
  if (options.sharding.any()) out.words = train::plan_exchange(out.plan, options.sharding.ranks);
  return out;
}

std::vector<std::string> as_launched(std::vector<std::string> words, const RankSetup& setup) {
  const dist::Launch& launch = setup.launch;
  const auto by = [&](const char* name) { return launch.source.find(name) != std::string::npos; };
  const std::string number = std::to_string(launch.processes);
  std::vector<std::string> front;
  if (!launch.launched || launch.processes == 1) return words;
  if (by("Open MPI")) {
    front = {"mpirun", "-n", number};
  } else if (by("torchrun")) {
    front = {"torchrun", "--no-python"};
    const int here = launch.local_processes;
    if (here > 0 && here < launch.processes)
      front.insert(front.end(), {"--nnodes", std::to_string(launch.processes / here)});
    front.insert(front.end(), {"--nproc-per-node", std::to_string(here > 0 ? here : launch.processes)});
  } else if (by("Slurm")) {
    front = {"srun", "-n", number};
    if (setup.device == DeviceKind::kCpu) front.emplace_back("--mpi=pmix");
  } else if (by("PMI")) {
    front = {"mpiexec", "-n", number};
  }
  words.insert(words.begin(), front.begin(), front.end());
  return words;
}

std::string ranks_text(const RankSetup& setup, int zero, bool adapters) {
  if (setup.count() == 1) return {};
  std::string where = setup.launch.source;
  if (setup.device == DeviceKind::kCuda) {
    where += fmt::format(", NCCL with up to 0.86 GiB beside the plan, here GPU{} {}",
                         setup.local() > 1 ? "s" : "", fmt::join(setup.launch.devices, ", "));
  }
  if (adapters) {
    return fmt::format(
        "{} ranks ({}); every rank holds the base and all adapters, whose gradients are summed "
        "once a step",
        setup.count(), where);
  }
  const char* what =
      zero == 1   ? "optimizer state in shards, gradients reduced once a step, a layer behind its "
                    "last backward"
      : zero == 2 ? "optimizer state and gradients in shards, gradients reduced every micro-batch, "
                    "behind the backward"
                  : "everything in shards, gradients reduced and weights gathered every "
                    "micro-batch, beside forward and backward";
  return fmt::format("{} ranks ({}); ZeRO {}{}: {}", setup.count(), where, zero,
                     setup.zero.has_value() ? "" : ", the lowest that fits", what);
}

}  // namespace rlcpp::app
