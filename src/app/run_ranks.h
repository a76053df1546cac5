// The ranks of a training command: which of them are in this process, what each plans, and a trainer for each
// on a thread of its own. With one rank all of it happens on the calling thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/memory_advice.h"
#include "app/run_model.h"
#include "base/log.h"
#include "dist/launch.h"
#include "dist/world.h"
#include "train/checkpoint.h"
#include "train/sharded_weights.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct DistSection {
  std::int64_t ranks = 1;
  std::vector<std::int64_t> devices;
  std::optional<std::int64_t> zero;
  std::optional<std::int64_t> processes, process;
  std::optional<std::string> address, run_id;
  std::int64_t timeout = 120, start_timeout = 600, idle_timeout = 1800;
  void describe(config::Schema& s);
};

// Which ranks there are and which of them are here, from the section and what a launcher left in the
// environment (dist/launch.h). Throws bad_input.
struct RankSetup {
  dist::Launch launch;
  DeviceKind device = DeviceKind::kCpu;
  std::optional<std::int64_t> zero;  // unset: the lowest level that fits
  dist::Deadlines deadlines;
  std::shared_ptr<dist::World> world = nullptr;  // of several processes that have met (run_processes.h)

  int count() const { return launch.ranks(); }
  int local() const { return launch.local_ranks(); }
  // Of this machine, in all its processes; where no launcher says how many those are, of all the run's.
  int on_this_machine() const {
    return local() * (launch.local_processes > 0 ? launch.local_processes : launch.processes);
  }
  // Of the process with rank 0: it writes what people read.
  bool first() const { return launch.process == 0; }
  Device device_of(int local) const;
  // What is left of `limit` (0: none) for the plan of one rank: on GPUs NCCL allocates its own buffers beside
  // it, on a CPU the ranks of this process divide it.
  std::size_t limit_for_plan(std::size_t limit) const;
  train::Sharding sharding(int local, int level) const;
  dist::WorldOptions world_options() const;
};
// What a person types to start the processes of this run again: `words` behind mpirun, srun or torchrun, if
// one of them started this process and others. Options of the launcher other than the number are not known
// here.
std::vector<std::string> as_launched(std::vector<std::string> words, const RankSetup& setup);
// `request`: what --device says, which `chosen` was chosen by.
RankSetup find_ranks(const DistSection& section, Device chosen, const std::string& request);
// Says what is set and changes nothing here: dist.zero with one rank or with adapters, a meeting place of one
// process, ranks without a micro-batch (`micro_batches` of a step; 0: not known yet), also those that only
// wait at a step's end because they do not divide its micro-batches.
void warn_of_idle(const DistSection& section, const RankSetup& setup, bool adapters,
                  std::int64_t micro_batches, Logger& log);
void warn_of_idle_ranks(const RankSetup& setup, std::int64_t micro_batches, Logger& log);

// The memory of one rank; the same for each of them.
struct RankPlan {
  MemoryPlan plan;
  ModelRegions model;                   // where a rank holds the whole model, or all that is frozen
  train::ShardedWeightRegions sharded;  // else
  std::shared_ptr<train::Trainer::Regions> trainer;
  RegionId words;  // for RankTeam::exchange(), of several ranks
};
// `seq_len`: of a row. Positions count from 0 in each of its documents, so a row may be longer than the
// model's, and a document may not.
RankPlan plan_rank(const ops::Context& ctx, const model::ModelConfig& config,
                   const train::TrainerOptions& options, std::int64_t seq_len);

// The level of ZeRO that is asked for, or the lowest whose plan fits. Throws as require_memory() does if none
// does. `options`: of the trainer that a Plannable stands for, but for its rank.
int require_rank_memory(const ops::Context& ctx, const model::ModelConfig& config, const RankSetup& setup,
                        const Plannable& now, const AdviceKeys& keys, const MemoryLimits& limits,
                        const std::function<train::TrainerOptions(const Plannable&)>& options);
// "2 ranks: ...; ZeRO 2: ...": for the banner. Empty with one rank.
std::string ranks_text(const RankSetup& setup, int zero, bool adapters);

class RankTeam {
 public:
  struct Parts {
    const RunModel& model;
    const train::TrainerOptions& options;  // but for the rank
    const RankPlan& plan;
    int zero = 1;
    std::int64_t seed = 0;
    bool pin_host = true;
    bool fill = true;  // false: a checkpoint will be loaded
  };
  // `ctx`: of the first rank here, used by the calling thread, as every call below is. With several ranks
  // waits until all have met.
  RankTeam(const RankSetup& setup, const ops::Context& ctx, const Parts& parts);
  ~RankTeam();
  RankTeam(const RankTeam&) = delete;
  RankTeam& operator=(const RankTeam&) = delete;

  // Calls of the same names on the trainers of all ranks.
  train::StepResult step(const std::vector<data::MicroBatch>& batches);
  double evaluate(const std::vector<data::MicroBatch>& batches);
  double forward_seconds(const std::vector<data::MicroBatch>& batches);  // of the slowest rank here
  // Of each batch; the ranks share the work.
  std::vector<std::vector<float>> logprobs(const std::vector<data::MicroBatch>& batches);

  // A rank's memory as its decoder reads it. Not with ZeRO 3, where no rank has all of it.
  struct Place {
    const ops::Context& ctx;
    const Arena& arena;
    const model::WeightSet& weights;
    const model::WeightSet& packed;
    const model::RopeTables& rope;
  };
  // Runs `body` on every rank's thread; errors as those of steps. For what works beside the trainers.
  void on_each(const std::function<void(int local, const Place& place)>& body);
  std::size_t local() const { return ranks_.size(); }

  // What the processes say, in their order; and the largest of their numbers. Collective.
  std::vector<std::vector<double>> exchange(const std::vector<double>& mine, std::string_view name);
  double largest(double mine, std::string_view name);

  // What the ranks here do next, outside of collectives: said by the watch if nothing comes of it.
  void note(std::string_view doing);

  // Of the first rank here: what is the same on all of them.
  train::Trainer& trainer();
  train::TrainerGroup group();  // for checkpoints
  std::size_t peak_memory();    // of the rank here with most
  std::vector<std::string> take_product_warnings();

 private:
  struct Rank;
  class Threads;
  // Runs `body(local)` on every rank's thread. The first error is thrown; the others are told that this rank
  // will not come, so that none waits for it.
  void each(const std::function<void(int)>& body);
  void build(int local, const Parts& parts, const model::WeightSet* whole);

  RankSetup setup_;
  int zero_ = 1;
  std::shared_ptr<dist::World> world_;  // null: one rank
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::unique_ptr<Threads> threads_;
  int unwinding_;  // exceptions under way when this was made
};

}  // namespace rlcpp::app
