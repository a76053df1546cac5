#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/wait.h"
#include "dist/carriers.h"
#include "dist/plugin/mpi_plugin.h"
#include "dist/reduce.h"
#include "dist/world.h"

namespace rlcpp::dist {
namespace {

// Room for the parts of other ranks while a sum is made; taken once.
constexpr std::size_t kScratch = std::size_t{8} << 20;

std::string folder_of_binary() {
  std::array<char, 4096> path{};
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string text(path.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  return text.substr(0, text.rfind('/'));
}

const MpiPlugin& load_plugin(const std::string& path) {
  const std::string here = folder_of_binary();
  const std::vector<std::string> places =
      path.empty() ? std::vector{here + "/rlcpp_mpi.so", here + "/../lib/rlcpp_mpi.so"} : std::vector{path};
  std::string why;
  for (const std::string& place : places) {
    // Global: MPI's own plugins look for its symbols. Never closed: MPI leaves handlers behind.
    void* library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    if (library == nullptr) {
      why += (why.empty() ? "" : "; ") + std::string(::dlerror());
      continue;
    }
    const auto entry = reinterpret_cast<MpiPluginEntry>(::dlsym(library, kMpiPluginEntry));
    if (entry != nullptr && entry()->version == kMpiPluginVersion) return *entry();
    why += place + " belongs to another version of rlcpp";
  }
  throw environment_error("CPU ranks in several processes need MPI, and rlcpp_mpi.so cannot be loaded", why,
                          "install an MPI (Debian: openmpi-bin, libopenmpi-dev) and build again, or use the "
                          "ranks of one process");
}

class Mpi final : public Communicator {
 public:
  Mpi(World& world, int rank, const std::string& path)
      : Communicator(world, rank, Device{}), mpi_(load_plugin(path)), scratch_(kScratch) {
    const auto limit = world.deadlines().start;
    // MPI_Init cannot be polled: the process's watchdog ends it, should it never return.
    const Wait wait("the other processes in MPI_Init", "joining MPI", world.deadlines().soft, limit);
    int its_rank = 0, its_size = 0;
    if (const int error = mpi_.initialise(&its_rank, &its_size)) {
      throw environment_error("MPI could not be started", mpi_.error_text(error),
                              "start the processes with mpirun or srun --mpi");
    }
    if (its_rank != rank || its_size != size()) {
      throw bad_input(fmt::format("MPI counts this process as {} of {}, the run as {} of {}", its_rank,
                                  its_size, rank, size()),
                      "CPU ranks in several processes are those of MPI",
                      "start them with mpirun or srun --mpi=pmix; processes started by hand or by torchrun "
                      "need a GPU each");
    }
    const auto ranks = static_cast<std::size_t>(size());
    for (auto* table : {&counts_, &places_, &mine_, &mine_places_}) table->resize(ranks);
  }
  ~Mpi() override {
    depart();
    // After a fault MPI_Finalize would wait for ranks that are gone.
    if (!world().failed()) mpi_.finalise();
  }
  std::string description() const override { return fmt::format("mpi ({})", mpi_.library()); }

 private:
  void run(const Call& call) override {
    const std::int64_t count = call.entry.count;
    const int width = static_cast<int>(size_of(call.entry.type));
    if (count > std::numeric_limits<int>::max()) {
      throw bad_input(fmt::format("{} is too large for MPI", text_of(call.entry)),
                      "MPI counts at most 2^31 - 1 elements", "send it in parts");
    }
    switch (call.entry.collective) {
      case Collective::kAllReduce:
        return all_reduce(call, width);
      case Collective::kReduceScatter:
        return reduce_scatter(call, width);
      case Collective::kAllGather: {
        const int part = static_cast<int>(count / size());
        const std::size_t bytes = static_cast<std::size_t>(part) * static_cast<std::size_t>(width);
        auto* own = static_cast<std::byte*>(call.out) + static_cast<std::size_t>(rank()) * bytes;
        if (own != call.in && bytes != 0) std::memcpy(own, call.in, bytes);
        for (int r = 0; r < size(); ++r) set(r, part, r * part);
        return finish(mpi_.all_gather(call.out, counts_.data(), places_.data(), width), call);
      }
      case Collective::kBroadcast:
        return finish(mpi_.broadcast(call.out, static_cast<int>(count), width, call.entry.root), call);
      case Collective::kBarrier:
        return finish(mpi_.barrier(), call);
    }
  }

  void set(int rank, std::int64_t count, std::int64_t place) {
    counts_[static_cast<std::size_t>(rank)] = static_cast<int>(count);
    places_[static_cast<std::size_t>(rank)] = static_cast<int>(place);
  }

  // MPI_Allreduce adds in an order of its own. Here each rank gets all parts of its share, adds them in rank
  // order, and the sums are gathered: as much traffic as the best all-reduce has.
  void all_reduce(const Call& call, int width) {
    const std::int64_t ranks = size();
    const std::int64_t most =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(kScratch) / width / ranks) * ranks;
    for (std::int64_t at = 0; at < call.entry.count; at += most) {
      const std::int64_t n = std::min(most, call.entry.count - at);
      auto* data = static_cast<std::byte*>(call.out) + at * width;
      for (int r = 0; r < size(); ++r) set(r, n * (r + 1) / ranks - n * r / ranks, n * r / ranks);
      const std::int64_t share = counts_[static_cast<std::size_t>(rank())];
      gather_parts(call, data, share, width);
      void* const out = data + places_[static_cast<std::size_t>(rank())] * static_cast<std::int64_t>(width);
      reduce_parts(call, out, share, width);
      finish(mpi_.all_gather(data, counts_.data(), places_.data(), width), call);
    }
  }

  void reduce_scatter(const Call& call, int width) {
    const std::int64_t ranks = size(), part = call.entry.count / ranks;
    const std::int64_t most = std::max<std::int64_t>(1, static_cast<std::int64_t>(kScratch) / width / ranks);
    for (std::int64_t at = 0; at < part; at += most) {
      const std::int64_t n = std::min(most, part - at);
      for (int r = 0; r < size(); ++r) set(r, n, r * part + at);
      gather_parts(call, call.in, n, width);
      reduce_parts(call, static_cast<std::byte*>(call.out) + at * width, n, width);
    }
  }

  // scratch = `share` elements of rank 0, of rank 1, ... ; rank r is sent what counts_ and places_ say of
  // `data`.
  void gather_parts(const Call& call, const void* data, std::int64_t share, int width) {
    for (std::size_t r = 0; r < mine_.size(); ++r) {
      mine_[r] = static_cast<int>(share);
      mine_places_[r] = static_cast<int>(static_cast<std::int64_t>(r) * share);
    }
    finish(mpi_.all_to_all(data, counts_.data(), places_.data(), scratch_.data(), mine_.data(),
                           mine_places_.data(), width),
           call);
  }

  void reduce_parts(const Call& call, void* out, std::int64_t share, int width) {
    parts_.clear();
    for (std::int64_t r = 0; r < size(); ++r) parts_.push_back(scratch_.data() + r * share * width);
    reduce_in_order(call.entry.type, call.entry.reduction, {&out, 1}, parts_, 0, share);
  }

  void finish(int error, const Call& call) {
    for (int round = 0, done = 0;; ++round) {
      if (error == 0) error = mpi_.test(&done);
      if (error != 0) {
        await_verdict();
        world().fail({fmt::format("MPI failed on rank {} in {}", rank(), text_of(call.entry)),
                      mpi_.error_text(error), "look at the logs of all ranks"});
      }
      if (done != 0 && error == 0) return;
      world().check();
      if (round > 1000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // MPI's complaint may be the echo of a rank that died or entered another size; the side channel says so
  // within a few of its periods.
  void await_verdict() {
    for (int i = 0; i < 100; ++i) {
      world().check();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  const MpiPlugin& mpi_;
  std::vector<std::byte> scratch_;
  std::vector<int> counts_, places_, mine_, mine_places_;
  std::vector<const void*> parts_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi(World& world, int rank, const std::string& path) {
  return std::make_unique<Mpi>(world, rank, path);
}

}  // namespace rlcpp::dist
