// What a rank plans, at which level of ZeRO, and the ways out if it does not fit: other numbers of ranks too.
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "app/run_ranks.h"

namespace rlcpp::app {
namespace {

// Plans ranks as a run with them would.
class RankPlanner {
 public:
  RankPlanner(const ops::Context& ctx, const model::ModelConfig& config,
              const std::function<train::TrainerOptions(const Plannable&)>& options)
      : ctx_(ctx), config_(config), options_(options) {}

  // The plan of a rank and its level: the one that is asked for, or the lowest that fits, or the smallest.
  std::pair<int, MemoryPlan> chosen(const RankSetup& setup, const MemoryLimits& limits,
                                    const Plannable& p) const {
    const bool free = !setup.zero.has_value() && setup.count() > 1;
    std::pair<int, MemoryPlan> best{static_cast<int>(setup.zero.value_or(1)), {}};
    best.second = planned(setup, p, best.first);
    for (int zero = 2; free && zero <= 3 && !limits.leaves_room(best.second); ++zero) {
      MemoryPlan plan = planned(setup, p, zero);
      if (limits.leaves_room(plan) || plan.total_bytes() < best.second.total_bytes())
        best = {zero, std::move(plan)};
    }
    return best;
  }

 private:
  MemoryPlan planned(const RankSetup& setup, const Plannable& p, int zero) const {
    train::TrainerOptions own = options_(p);
    own.sharding = setup.sharding(0, zero);
    return plan_rank(ctx_, planned_shape(config_, p), own, p.seq_len).plan;
  }

  const ops::Context& ctx_;
  const model::ModelConfig& config_;
  const std::function<train::TrainerOptions(const Plannable&)>& options_;
};

// `setup` with `ranks` ranks in this process, or so many processes where there are several.
RankSetup with_ranks(RankSetup setup, int ranks) {
  dist::Launch& launch = setup.launch;
  if (launch.processes > 1) {
    launch.processes = ranks / launch.local_ranks();
    return setup;
  }
  launch.devices.clear();
  for (int i = 0; i < ranks; ++i) launch.devices.push_back(setup.device == DeviceKind::kCuda ? i : 0);
  return setup;
}

// The most ranks that could be tried. Where there is no GPU the plan is for another machine: one of eight.
int most_ranks(const RankSetup& setup) {
  if (setup.device == DeviceKind::kCpu) return 0;
  if (setup.launch.processes > 1) return 8 * setup.count();
  std::string why;
  const auto here = static_cast<int>(cuda::gpus(&why).size());
  return here > 0 ? here : 8;
}

std::string line_of(const RankSetup& setup, int zero, const MemoryPlan& plan, const std::string& cost,
                    bool adapters) {
  const std::string how = setup.launch.processes > 1 ? fmt::format("{} processes", setup.launch.processes)
                                                     : fmt::format("--dist.ranks {}", setup.count());
  std::string text = fmt::format("{}: {}", how, size_text(plan));
  if (setup.count() > 1) text += adapters ? " a rank" : fmt::format(" a rank with ZeRO {}", zero);
  return text + ", " + cost;
}

// The nearest number of ranks above, and the nearest below, with which the run fits. On GPUs more ranks hold
// less each; on a CPU fewer have more of the machine each. One GPU alone needs no NCCL.
std::vector<std::string> other_ranks(const RankPlanner& planner, const RankSetup& setup,
                                     const MemoryLimits& limits, const Plannable& now) {
  std::vector<std::string> lines;
  if (limits.whole == 0) return lines;
  const auto try_ranks = [&](int ranks, const std::string& cost) {
    RankSetup other = with_ranks(setup, ranks);
    MemoryLimits own = limits;
    own.limit = other.limit_for_plan(limits.whole);
    const auto [zero, plan] = planner.chosen(other, own, now);
    if (!own.leaves_room(plan)) return false;
    lines.push_back(line_of(other, zero, plan, cost, now.model.lora.has_value()));
    return true;
  };
  const bool gpu = setup.device == DeviceKind::kCuda;
  const int local = setup.launch.processes > 1 ? setup.local() : 1;
  for (int ranks = setup.count() + local; ranks <= most_ranks(setup); ranks += local) {
    if (try_ranks(ranks, fmt::format("{} GPUs; gradients are summed in another order", ranks))) break;
  }
  if (setup.launch.processes > 1) return lines;
  for (int ranks = setup.count() - 1; ranks > 0; --ranks) {
    if (gpu && ranks > 1) continue;
    if (try_ranks(ranks, gpu ? "one GPU, slower; gradients are summed in another order"
                             : "the same cores; gradients are summed in another order"))
      break;
  }
  return lines;
}

}  // namespace

int require_rank_memory(const ops::Context& ctx, const model::ModelConfig& config, const RankSetup& setup,
                        const Plannable& now, const AdviceKeys& keys, const MemoryLimits& limits,
                        const std::function<train::TrainerOptions(const Plannable&)>& options) {
  const RankPlanner planner(ctx, config, options);
  MemoryLimits of_rank = limits;
  if (setup.count() > 1) {
    of_rank.whose = fmt::format(" for each of {} ranks", setup.count());
    if (setup.device == DeviceKind::kCuda) of_rank.whose += ", beside 0.86 GiB of NCCL";
  }
  // Every change is planned at the level that a run with it has: what is printed is what it will plan.
  require_memory(
      now, keys, of_rank, [&](const Plannable& p) { return planner.chosen(setup, limits, p).second; },
      [&] { return other_ranks(planner, setup, limits, now); });
  return planner.chosen(setup, limits, now).first;
}

}  // namespace rlcpp::app
