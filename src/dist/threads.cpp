#include <chrono>
#include <cstring>

#include <fmt/format.h>

#include "dist/carriers.h"
#include "dist/reduce.h"
#include "dist/world.h"

namespace rlcpp::dist {

void ThreadTeam::meet(const World& world, bool bound) {
  std::unique_lock lock(mutex_);
  if (broken_) {
    lock.unlock();
    world.check();
  }
  const std::uint64_t round = round_;
  if (++arrived_ == places.size()) {
    arrived_ = 0;
    ++round_;
    lock.unlock();
    wake_.notify_all();
    return;
  }
  while (round_ == round) {
    wake_.wait_for(lock, std::chrono::milliseconds(20));
    if (round_ != round || bound || !world.failed()) continue;
    broken_ = true;  // under the lock: who comes after us must not think that all are here
    lock.unlock();
    world.check();
  }
}

namespace {

class Threads final : public Communicator {
 public:
  Threads(World& world, int rank, std::shared_ptr<ThreadTeam> team)
      : Communicator(world, rank, Device{}), team_(std::move(team)) {}
  ~Threads() override { depart(); }
  std::string description() const override { return fmt::format("threads ({} CPU ranks)", size()); }

 private:
  void run(const Call& call) override {
    team_->places[static_cast<std::size_t>(rank())] = {call.out, call.in};
    // World::enter has compared the entries: a rank with another collective does not come here.
    team_->meet(world(), false);
    if (call.entry.collective == Collective::kBarrier) return;
    work(call);
    team_->meet(world(), true);  // until then the others read our tensors
  }

  void work(const Call& call) {
    const std::int64_t count = call.entry.count, ranks = size(), me = rank();
    std::vector<const void*>& ins = ins_;
    std::vector<void*>& outs = outs_;
    ins.clear();
    outs.clear();
    for (const ThreadTeam::Place& place : team_->places) {
      ins.push_back(place.in);
      outs.push_back(place.out);
    }
    switch (call.entry.collective) {
      case Collective::kAllReduce: {
        // Part `me` of all tensors is read and written by this rank alone.
        const std::int64_t begin = count * me / ranks, end = count * (me + 1) / ranks;
        reduce_in_order(call.entry.type, call.entry.reduction, outs, ins, begin, end - begin);
        return;
      }
      case Collective::kReduceScatter: {
        const std::int64_t part = count / ranks;
        const std::size_t skip = static_cast<std::size_t>(part * me) * size_of(call.entry.type);
        for (const void*& in : ins) in = static_cast<const std::byte*>(in) + skip;
        void* const out = call.out;
        reduce_in_order(call.entry.type, call.entry.reduction, {&out, 1}, ins, 0, part);
        return;
      }
      case Collective::kAllGather: {
        const std::size_t bytes = static_cast<std::size_t>(count / ranks) * size_of(call.entry.type);
        for (std::size_t rank = 0; rank < ins.size(); ++rank) {
          void* const to = static_cast<std::byte*>(call.out) + rank * bytes;
          if (to != ins[rank] && bytes != 0) std::memcpy(to, ins[rank], bytes);
        }
        return;
      }
      case Collective::kBroadcast:
        if (me != call.entry.root && count != 0) {
          std::memcpy(call.out, ins[static_cast<std::size_t>(call.entry.root)],
                      static_cast<std::size_t>(count) * size_of(call.entry.type));
        }
        return;
      case Collective::kBarrier:
        return;
    }
  }

  std::shared_ptr<ThreadTeam> team_;
  std::vector<const void*> ins_;
  std::vector<void*> outs_;
};

}  // namespace

std::unique_ptr<Communicator> make_threads(World& world, int rank, std::shared_ptr<ThreadTeam> team) {
  return std::make_unique<Threads>(world, rank, std::move(team));
}

}  // namespace rlcpp::dist
