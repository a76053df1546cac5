// The trainers of the ranks in this process.
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "app/run_ranks.h"
#include "base/error.h"
#include "model/adapters.h"
#include "ops/matmul.h"
#include "train/exchange.h"

namespace rlcpp::app {

struct RankTeam::Rank {
  std::unique_ptr<ThreadPool> pool;  // null: the first rank's is the caller's
  ops::Context ctx;
  std::unique_ptr<dist::Communicator> communicator;
  std::unique_ptr<Arena> arena;
  ModelMemory memory;
  train::Peers peers;
  std::unique_ptr<train::Trainer> trainer;
  Tensor words = {};  // of plan_exchange
};

// A thread for every rank but the first, which is the caller's. One job at a time, the same for all.
class RankTeam::Threads {
 public:
  explicit Threads(int ranks) {
    for (int local = 1; local < ranks; ++local) threads_.emplace_back([this, local] { work(local); });
  }
  ~Threads() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  // `body` must not throw.
  void run(const std::function<void(int)>& body) {
    {
      const std::lock_guard lock(mutex_);
      body_ = &body;
      busy_ = static_cast<int>(threads_.size());
      ++job_;
    }
    wake_.notify_all();
    body(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void work(int local) {
    std::uint64_t last = 0;
    for (;;) {
      const std::function<void(int)>* body = nullptr;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || job_ != last; });
        if (stop_) return;
        last = job_;
        body = body_;
      }
      (*body)(local);
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* body_ = nullptr;
  int busy_ = 0;
  std::uint64_t job_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

void RankTeam::each(const std::function<void(int)>& body) {
  if (setup_.local() == 1 && world_ == nullptr) return body(0);
  std::mutex mutex;
  std::exception_ptr first;
  const auto keep = [&](int local, const Error* error, const char* text) {
    const std::lock_guard lock(mutex);
    if (first == nullptr) first = std::current_exception();
    if (world_ == nullptr || world_->failed()) return;
    world_->fail({fmt::format("rank {} failed: {}", setup_.launch.first_rank() + local,
                              error != nullptr ? error->what() : text),
                  error != nullptr ? error->because() : "", error != nullptr ? error->help() : "",
                  error != nullptr ? error->code() : ExitCode::kFailed});
  };
  threads_->run([&](int local) {
    try {
      body(local);
    } catch (const Error& error) {
      keep(local, &error, nullptr);
    } catch (const std::exception& error) {
      keep(local, nullptr, error.what());
    }
  });
  if (first != nullptr) std::rethrow_exception(first);
}

namespace {

// The whole model in f32 on the host, from which ranks take their shards.
struct WholeModel {
  std::unique_ptr<Arena> arena;
  model::WeightSet weights;
};

WholeModel whole_model(const RunModel& model, std::int64_t seed, ThreadPool& pool) {
  WholeModel out;
  MemoryPlan plan;
  const auto regions = model::plan_weights(model.config, plan, MemoryUse::kWeights, "whole.", DType::kF32);
  out.arena = std::make_unique<Arena>(plan, Device{});
  out.weights = model::make_weight_set(model.config, *out.arena, regions);
  fill_weights(model, out.weights, seed, pool);
  return out;
}

// Without dist.zero a process takes the lowest level that fits its own memory.
void require_one_level(dist::Communicator& communicator, const Tensor& words, int zero,
                       int ranks_of_process) {
  const auto all = train::exchange(communicator, words, {static_cast<double>(zero)}, "level of ZeRO");
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all.front()) continue;
    throw bad_input(
        fmt::format("the processes of this run chose different levels of ZeRO: {} in process 0 and {} "
                    "in process {}",
                    all.front().at(0), all[rank].at(0), rank / static_cast<std::size_t>(ranks_of_process)),
        "each takes the lowest that fits its memory",
        fmt::format("set --dist.zero {} for all", std::max_element(all.begin(), all.end())->at(0)));
  }
}

}  // namespace

RankTeam::RankTeam(const RankSetup& setup, const ops::Context& ctx, const Parts& parts)
    : setup_(setup),
      zero_(parts.zero),
      world_(setup.world),
      threads_(std::make_unique<Threads>(setup.local())),
      unwinding_(std::uncaught_exceptions()) {
  if (setup.count() > 1 && world_ == nullptr) world_ = std::make_shared<dist::World>(setup.world_options());
  if (world_ != nullptr) world_->check();
  for (int local = 0; local < setup.local(); ++local) ranks_.push_back(std::make_unique<Rank>());
  ranks_.front()->ctx = ctx;
  std::optional<WholeModel> whole;
  if (parts.fill && setup.count() > 1 && !parts.model.config.adapters.any() && !parts.model.random_init) {
    whole = whole_model(parts.model, parts.seed, *ctx.pool);
  }
  each([&](int local) { build(local, parts, whole.has_value() ? &whole->weights : nullptr); });
}

void RankTeam::build(int local, const Parts& parts, const model::WeightSet* whole) {
  Rank& rank = *ranks_[static_cast<std::size_t>(local)];
  const model::ModelConfig& config = parts.model.config;
  if (local > 0) {
    // As many threads as the first rank has: beside a GPU they have little to do.
    const int threads = ranks_.front()->ctx.pool->size();
    rank.pool = std::make_unique<ThreadPool>(threads);
    rank.ctx = ops::make_context(setup_.device_of(local), *rank.pool, ranks_.front()->ctx.mode);
    peak_memory_bytes(rank.ctx.device);  // the first call notes what is taken before the plan
    ops::measure_products(rank.ctx);
  }
  if (world_ != nullptr) rank.communicator = world_->join(local);
  rank.arena = std::make_unique<Arena>(parts.plan.plan, rank.ctx.device, parts.pin_host);
  if (world_ != nullptr) rank.words = (*rank.arena)[parts.plan.words];
  if (setup_.launch.processes > 1 && !config.adapters.any())
    require_one_level(*rank.communicator, rank.words, zero_, setup_.local());
  train::TrainerOptions options = parts.options;
  options.sharding = setup_.sharding(local, zero_);
  rank.peers.communicator = rank.communicator.get();
  if (options.sharding.any() && !config.adapters.any()) {
    train::ShardedWeightRegions regions = parts.plan.sharded;
    regions.sharding = options.sharding;
    rank.peers.sharded = train::make_sharded_weights(config, *rank.arena, regions);
    rank.memory.rope = model::make_rope(config, *rank.arena, parts.plan.model.rope);
    if (whole != nullptr) train::fill_masters(rank.peers.sharded, *whole);
    if (parts.fill && whole == nullptr) {
      train::init_masters(rank.peers.sharded, config, static_cast<std::uint64_t>(parts.seed), rank.ctx.pool);
    }
  } else {
    rank.memory = make_model(config, *rank.arena, parts.plan.model);
    if (parts.fill && options.sharding.rank == 0) {
      fill_weights(parts.model, rank.memory.full(), parts.seed, *rank.ctx.pool);
    }
    if (options.sharding.any()) {
      const model::WeightSet& full = rank.memory.full();
      const dist::Stream stream{ops::stream_handle(rank.ctx)};
      for (const Tensor& t : full.flat) rank.communicator->broadcast(t, 0, "the base", stream);
      for (const Tensor& t : model::flat_adapters(config, full.adapters)) {
        rank.communicator->broadcast(t, 0, "adapters", stream);
      }
      rank.communicator->barrier("the model");
    }
  }
  if (local > 0 && options.on_micro_batch) options.on_micro_batch = nullptr;
  rank.trainer = std::make_unique<train::Trainer>(rank.ctx, config, options, *rank.arena, parts.plan.trainer,
                                                  rank.memory.weights, rank.memory.packed, rank.memory.rope,
                                                  rank.memory.masters, rank.peers);
}

RankTeam::~RankTeam() {
  // Whoever leaves by an error must not wait for the others, nor they for it.
  if (std::uncaught_exceptions() > unwinding_ && world_ != nullptr && !world_->failed()) {
    world_->fail({fmt::format("rank {} failed", setup_.launch.first_rank()), "", "look at its log"});
  }
  // A rank's device is that of its thread.
  const std::function<void(int)> leave = [this](int local) {
    ranks_[static_cast<std::size_t>(local)].reset();
  };
  threads_->run(leave);
}

train::StepResult RankTeam::step(const std::vector<data::MicroBatch>& batches) {
  std::vector<train::StepResult> results(ranks_.size());
  each([&](int local) {
    const auto index = static_cast<std::size_t>(local);
    results[index] = ranks_[index]->trainer->step(batches);
  });
  return std::move(results.front());
}

double RankTeam::evaluate(const std::vector<data::MicroBatch>& batches) {
  std::vector<double> results(ranks_.size());
  each([&](int local) {
    const auto index = static_cast<std::size_t>(local);
    results[index] = ranks_[index]->trainer->evaluate(batches);
  });
  return results.front();
}

double RankTeam::forward_seconds(const std::vector<data::MicroBatch>& batches) {
  std::vector<double> results(ranks_.size());
  each([&](int local) {
    const auto index = static_cast<std::size_t>(local);
    results[index] = ranks_[index]->trainer->forward_seconds(batches);
  });
  return *std::max_element(results.begin(), results.end());
}

std::vector<std::vector<float>> RankTeam::logprobs(const std::vector<data::MicroBatch>& batches) {
  std::vector<std::vector<float>> out(batches.size());
  // Level 3 gathers the weights of each layer from all ranks, so all of them look at every batch.
  const bool together = zero_ >= 3 && setup_.count() > 1 && !trainer().model().adapters.any();
  each([&](int local) {
    const auto index = static_cast<std::size_t>(local);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      if (!together && i % ranks_.size() != index) continue;
      std::vector<float> values = ranks_[index]->trainer->logprobs(batches[i]);
      if (i % ranks_.size() == index) out[i] = std::move(values);
    }
  });
  return out;
}

void RankTeam::on_each(const std::function<void(int, const Place&)>& body) {
  RLCPP_CHECK(zero_ < 3 || setup_.count() == 1 || trainer().model().adapters.any());
  each([&](int local) {
    const Rank& rank = *ranks_[static_cast<std::size_t>(local)];
    const bool sharded = rank.peers.sharded.any();
    body(local, {rank.ctx, *rank.arena, sharded ? rank.peers.sharded.weights : rank.memory.weights,
                 sharded ? rank.peers.sharded.packed : rank.memory.packed, rank.memory.rope});
  });
}

std::vector<std::vector<double>> RankTeam::exchange(const std::vector<double>& mine, std::string_view name) {
  if (world_ == nullptr) return {mine};
  std::vector<std::vector<double>> all, out;
  each([&](int local) {
    const Rank& rank = *ranks_[static_cast<std::size_t>(local)];
    auto said =
        train::exchange(*rank.communicator, rank.words, local == 0 ? mine : std::vector<double>(), name);
    if (local == 0) all = std::move(said);
  });
  for (std::size_t r = 0; r < all.size(); r += ranks_.size()) out.push_back(std::move(all[r]));
  return out;
}

double RankTeam::largest(double mine, std::string_view name) {
  if (world_ == nullptr) return mine;
  std::vector<double> out(ranks_.size());
  each([&](int local) {
    const auto index = static_cast<std::size_t>(local);
    out[index] = train::largest(*ranks_[index]->communicator, ranks_[index]->words, mine, name);
  });
  return out.front();
}

void RankTeam::note(std::string_view doing) {
  if (world_ == nullptr) return;
  for (int local = 0; local < setup_.local(); ++local)
    world_->note(setup_.launch.first_rank() + local, doing);
}

train::Trainer& RankTeam::trainer() {
  return *ranks_.front()->trainer;
}

train::TrainerGroup RankTeam::group() {
  std::vector<train::Trainer*> trainers;
  for (const auto& rank : ranks_) trainers.push_back(rank->trainer.get());
  const auto on_each = [this](const std::function<void(train::Trainer&)>& body) {
    each([&](int local) { body(*ranks_[static_cast<std::size_t>(local)]->trainer); });
  };
  return {std::move(trainers),
          on_each,
          {setup_.launch.processes, setup_.launch.process,
           [this](const std::vector<double>& mine) { return exchange(mine, "how far a checkpoint is"); }}};
}

std::size_t RankTeam::peak_memory() {
  std::vector<std::size_t> peaks(ranks_.size());
  each([&](int local) {  // asking makes the device current
    const auto index = static_cast<std::size_t>(local);
    peaks[index] = peak_memory_bytes(ranks_[index]->ctx.device);
  });
  return *std::max_element(peaks.begin(), peaks.end());
}

std::vector<std::string> RankTeam::take_product_warnings() {
  std::vector<std::string> out;
  for (const auto& rank : ranks_) {
    for (std::string& warning : ops::take_product_warnings(rank->ctx)) out.push_back(std::move(warning));
  }
  return out;
}

}  // namespace rlcpp::app
