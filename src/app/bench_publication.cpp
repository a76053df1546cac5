// rlcpp bench publication: how long weights take from the rank that trains to the engines of other ranks
// (transport/broadcast.h), until they are verified and in the place of those before.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/bench_rollout.h"
#include "app/command.h"
#include "app/rank_engines.h"
#include "app/run_model.h"
#include "app/run_start.h"
#include "app/version.h"
#include "base/error.h"
#include "base/readable.h"
#include "base/signals.h"
#include "bench/runner.h"
#include "bench/statistics.h"
#include "monitor/console.h"
#include "transport/broadcast.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct BenchPublicationConfig {
  ModelSection model;
  RlDistSection dist{.ranks = 2};
  std::string device = "auto";
  std::int64_t repeats = 20, warm_up = 3, threads = 0;
  std::optional<std::string> memory_limit, output_json;

  void describe(config::Schema& s) {
    s.section("model", model,
              "The model whose weights travel, in the type that a decoder of the device reads.");
    s.section("dist", dist, "Rank 0 sends, the others receive.");
    s.field("device", device, "Where the weights lie: auto, cpu or cuda.");
    s.field("repeats", repeats, "Publications that count; medians are reported.").at_least(1).at_most(10000);
    s.field("warm_up", warm_up, "Publications before them.").at_least(0).at_most(1000);
    s.field("threads", threads, "CPU threads of each rank; 0: one a core.").at_least(0).at_most(1024);
    s.field(
        "memory_limit", memory_limit,
        "Refuse to start if the memory plan of a rank is larger, e.g. 44GiB; None: the memory that is free.");
    s.field("output_json", output_json, "File for the result.");
  }
};

// Of one rank, each publication.
struct RankTimes {
  std::vector<transport::BroadcastTimes> all;
  std::size_t peak_bytes = 0;
};

class PublicationBench {
 public:
  explicit PublicationBench(const BenchPublicationConfig& config) : config_(config) {}
  // False after a dry run, which only plans.
  bool run(bool dry);
  Json json() const;
  std::string text() const;

 private:
  void rank(dist::World& world, int local);
  double median(bool sender, double transport::BroadcastTimes::*part) const;

  const BenchPublicationConfig& config_;
  RunModel model_;
  DeviceChoice device_;
  RankSetup ranks_;
  MemoryPlan plan_;
  model::WeightRegions live_, spare_;
  transport::WeightBroadcast::Regions regions_;
  std::vector<RankTimes> times_;
};

bool PublicationBench::run(bool dry) {
  if (config_.output_json.has_value()) require_writable_file(*config_.output_json, "output_json");
  if (config_.model.lora.has_value()) {
    throw bad_input("adapters are not published to other ranks", "weights go over the communicator alone",
                    "remove model.lora");
  }
  model_ = resolve_model(config_.model, 0, /*shapes_only=*/true);
  bool absent = false;
  device_ = dry ? choose_planned_device(config_.device, &absent) : choose_device(config_.device);
  ranks_ = find_rl_ranks(config_.dist, device_.device, config_.device, /*teacher=*/false);
  if (ranks_.count() < 2) {
    throw bad_input("one rank has nobody to publish to",
                    "weights that engines share with their trainer do not move",
                    "set --dist.ranks 2; rlcpp bench rl measures a publication within a rank");
  }
  const DType type = device_.device.kind == DeviceKind::kCuda ? DType::kBF16 : DType::kF32;
  live_ = model::plan_weights(model_.config, plan_, MemoryUse::kWeights, "weight.", type);
  spare_ = model::plan_weights(model_.config, plan_, MemoryUse::kWeights, "incoming.", type);
  regions_ = transport::WeightBroadcast::plan(model::parameter_list(model_.config).size(), plan_);
  RunSection section;
  section.memory_limit = config_.memory_limit;
  const std::size_t limit = ranks_.limit_for_plan(section.memory_limit_bytes(device_.device));
  plan_.require_fits(limit, {"--model.name: a smaller model"});
  if (dry) {
    fmt::print("{}", plan_.table(limit));
    return false;
  }
  times_.resize(static_cast<std::size_t>(ranks_.count()));
  dist::World world(ranks_.world_options());
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int local = 0; local < ranks_.local(); ++local) {
    threads.emplace_back([&, local] {
      try {
        rank(world, local);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        if (first == nullptr) first = std::current_exception();
        if (!world.failed())
          world.fail({fmt::format("rank {} failed: {}", local, error.what()), error.because(), error.help(),
                      error.code()});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first != nullptr) std::rethrow_exception(first);
  return true;
}

void PublicationBench::rank(dist::World& world, int local) {
  ThreadPool pool(static_cast<int>(config_.threads));
  const ops::Context ctx = ops::make_context(ranks_.device_of(local), pool);
  peak_memory_bytes(ctx.device);  // the first call notes what is taken before
  const auto communicator = world.join(local);
  const Arena arena(plan_, ctx.device);
  const model::WeightSet weights = model::make_weight_set(model_.config, arena, live_);
  model::init_random(model_.config, weights, static_cast<std::uint64_t>(local), &pool);
  const auto live = transport::named_weights(model_.config, weights);
  const auto spare =
      transport::named_weights(model_.config, model::make_weight_set(model_.config, arena, spare_));
  transport::WeightBroadcast broadcast(ctx, *communicator, 0, arena, regions_);
  RankTimes& times = times_[static_cast<std::size_t>(local)];
  for (std::int64_t step = 0; step < config_.warm_up + config_.repeats; ++step) {
    communicator->barrier("a publication");  // nobody waits for the rank that copied last
    if (local == 0) {
      broadcast.send("bench", step, live);
      stop_if_asked();
    } else {
      broadcast.receive(step, spare, live);
    }
    if (step >= config_.warm_up) times.all.push_back(broadcast.times());
  }
  times.peak_bytes = peak_memory_bytes(ctx.device);
}

// Of receivers: the slowest of each publication.
double PublicationBench::median(bool sender, double transport::BroadcastTimes::*part) const {
  std::vector<double> values;
  for (std::size_t i = 0; i < times_.front().all.size(); ++i) {
    double most = sender ? times_.front().all[i].*part : 0;
    for (std::size_t rank = 1; !sender && rank < times_.size(); ++rank)
      most = std::max(most, times_[rank].all[i].*part);
    values.push_back(most);
  }
  return bench::median(values);
}

Json PublicationBench::json() const {
  using Times = transport::BroadcastTimes;
  const auto bytes = static_cast<double>(times_.front().all.front().bytes);
  Json out;
  out["kind"] = "publication";
  out["config"] = {{"engine", "rlcpp"},
                   {"model_name", config_.model.name},
                   {"num_gpus", ranks_.count()},
                   {"device_name", device_label(device_.device)},
                   {"repeats", config_.repeats},
                   {"commit_sha", commit_sha()},
                   {"timestamp", bench::utc_timestamp()}};
  out["bytes"] = bytes;
  out["planned_bytes"] = plan_.total_bytes();
  std::size_t peak = 0;
  for (const RankTimes& times : times_) peak = std::max(peak, times.peak_bytes);
  out["peak_bytes"] = peak;
  out["seconds"] = median(false, &Times::seconds);
  // The receiver's transfer includes its wait for the sender's checksums.
  out["split"] = {{"checksums", median(true, &Times::checksums)},
                  {"transfer", median(true, &Times::transfer)},
                  {"verify", median(false, &Times::verify)},
                  {"replace", median(false, &Times::replace)}};
  out["bytes_per_second"] = bytes / median(true, &Times::transfer);
  return out;
}

std::string PublicationBench::text() const {
  const Json all = json();
  std::vector<std::vector<std::string>> cells = {{"of a publication", "ms"}};
  for (const auto& [name, seconds] : all["split"].items())
    cells.push_back({name, fmt::format("{:.2f}", 1e3 * seconds.get<double>())});
  cells.push_back({"whole", fmt::format("{:.2f}", 1e3 * all["seconds"].get<double>())});
  return monitor::table(cells) +
         fmt::format("\n{:.2f} GB to {} other ranks, {:.1f} GB/s on its way; medians of {}\n",
                     all["bytes"].get<double>() / 1e9, ranks_.count() - 1,
                     all["bytes_per_second"].get<double>() / 1e9, config_.repeats);
}

int run_bench_publication(const Invocation& invocation) {
  BenchPublicationConfig config;
  config::load(config::describer(config), invocation.arguments);
  install_signal_handlers({"stopping this measurement; nothing is saved", false});
  PublicationBench bench(config);
  if (!bench.run(invocation.dry_run)) return 0;
  give_result(invocation, config.output_json, bench.json().dump(1) + "\n", bench.text());
  return 0;
}

}  // namespace

Command bench_publication_command() {
  Command c;
  c.name = "bench publication";
  c.summary = "Measure how long weights take from a trainer's rank to the engines of others.";
  c.usage = "rlcpp bench publication --model.name NAME [--dist.ranks N] [--key value ...]";
  c.examples = {"rlcpp bench publication --model.name Qwen/Qwen3-0.6B --device cuda",
                "rlcpp bench publication --model.name Qwen/Qwen3-4B --device cuda --dist.devices '[0, 1]'"};
  describe_options<BenchPublicationConfig>(c);
  c.run = run_bench_publication;
  return c;
}

}  // namespace rlcpp::app
