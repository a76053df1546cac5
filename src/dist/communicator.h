// Collectives between the ranks of a run. One rank has one communicator, used by one thread; the ranks are
// threads of a process, processes, or both (dist/world.h makes them).
//
// Order of sums. On the CPU (threads, MPI): x0 + x1 + x2 + ... in rank order, bf16 summed in f32 and rounded
// once, whoever arrives first; so the same bits from run to run and for threads or processes. On GPUs the
// order is NCCL's: fixed by its version, topology and choice of algorithm, so the same bits from run to run
// on one machine, and with two ranks (one addition, which commutes) the same as on the CPU for f32, f64 and
// i64.
//
// Every collective has a number, a name and a deadline. One that does not end in time, or that cannot end
// because a rank is gone or entered something else, throws runtime_failure naming rank, collective and number
// on every rank; after that the communicator is dead and every call throws the same again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "dist/entry.h"
#include "tensor/tensor.h"

namespace rlcpp::dist {

class Communicator;
class World;

// The stream that computes: a cudaStream_t, null for the default stream; unused on the CPU.
struct Stream {
  void* cuda = nullptr;
};

// A collective that was begun. On the CPU it is over when the call returns.
class Ticket {
 public:
  Ticket() = default;
  // Work put on `stream` from now on waits for the collective; this thread does not.
  void before(Stream stream) const;
  // Waits here, with the communicator's deadline.
  void wait() const;
  std::uint64_t sequence() const { return sequence_; }

 private:
  friend class Communicator;
  Ticket(Communicator* owner, std::uint64_t sequence) : owner_(owner), sequence_(sequence) {}
  Communicator* owner_ = nullptr;
  std::uint64_t sequence_ = 0;
};

class Communicator {
 public:
  virtual ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  Device device() const { return device_; }
  // "solo", "threads", "mpi (Open MPI v4.1.4)", "nccl 2.28.9": for the banner.
  virtual std::string description() const = 0;

  // All tensors lie on device(). On a GPU the collective starts once the work given to `after` so far is
  // done, runs on the communicator's own stream beside what follows, and its tensors must not be touched
  // before the ticket. name: what for, "gradients layer 3"; the same on all ranks.

  // Each element becomes the sum or maximum over the ranks, in place. f32, bf16, f64, i64; any size, also 0.
  // The maximum with a NaN is unspecified.
  Ticket all_reduce(const Tensor& t, Reduction reduction, std::string_view name, Stream after = {});
  // in: [size * n], out: [n]; out becomes the reduction of part `rank` of in. out may be that part of in.
  Ticket reduce_scatter(const Tensor& out, const Tensor& in, Reduction reduction, std::string_view name,
                        Stream after = {});
  // out: [size * n], in: [n] of any type; part r of out becomes in of rank r. in may be part `rank` of out.
  Ticket all_gather(const Tensor& out, const Tensor& in, std::string_view name, Stream after = {});
  // t becomes that of rank `root`; any type.
  Ticket broadcast(const Tensor& t, int root, std::string_view name, Stream after = {});
  // Returns when all ranks have come here and finished all earlier collectives.
  void barrier(std::string_view name);

  // For work that takes longer than moments and enters no collective: the watch then knows that this rank
  // does not stand still, and at what it was if it does. "micro-batch", 3, 8: the third of eight.
  void note(std::string_view doing, std::int64_t at = 0, std::int64_t of = 0);

  // Collectives between the two go to the device as one launch: for many small tensors. Their tickets count
  // from group_end(). Not nested.
  void group_begin();
  void group_end();

 protected:
  friend class Ticket;
  friend class World;
  Communicator(World& world, int rank, Device device);

  struct Call {
    Entry entry;
    void* out = nullptr;
    const void* in = nullptr;  // equals out where the collective is in place
    Stream after;
  };
  // Does the collective, or puts it on the device. Count 0 is possible.
  virtual void run(const Call& call) = 0;
  virtual void run_group(bool /*begin*/) {}
  virtual void order(std::uint64_t /*sequence*/, Stream /*stream*/) {}
  virtual bool done(std::uint64_t /*sequence*/) { return true; }
  // True if run() returns when all is done.
  virtual bool synchronous() const { return true; }

  // For the watch, on its thread: how far the device is. `error`: not empty if the device or library failed.
  struct Progress {
    std::uint64_t begun = 0, completed = 0;
    std::string error;
  };
  virtual Progress observe() { return {}; }
  // What ends a collective that hangs; run on a thread of its own, which may outlive the communicator.
  virtual std::function<void()> abort_action() { return {}; }

  // First line of every destructor of a subclass: the watch must not look at what is half gone.
  void depart();
  World& world() const { return world_; }

 private:
  Ticket submit(Collective collective, const Tensor& out, const Tensor& in, Reduction reduction, int root,
                std::string_view name, Stream after);
  void require_here(const Tensor& t, Collective collective, std::string_view name) const;

  World& world_;
  int rank_;
  int size_;
  Device device_;
  std::uint64_t sequence_ = 0;
  bool in_group_ = false;
  bool departed_ = false;
};

}  // namespace rlcpp::dist
