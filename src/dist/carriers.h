// The communicators that World chooses from.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dist/communicator.h"

namespace rlcpp::dist {

// One rank: the result is the input. Out of place it is a copy, and on a GPU a copy waits for the device.
std::unique_ptr<Communicator> make_solo(World& world, int rank, Device device);

// CPU ranks that are threads of one process: each reads the others' tensors where they lie.
class ThreadTeam {
 public:
  explicit ThreadTeam(int size) : places(static_cast<std::size_t>(size)) {}

  struct Place {
    void* out = nullptr;
    const void* in = nullptr;
  };
  std::vector<Place> places;  // a rank writes its own before meet(), reads all after it

  // Returns when all ranks are here. Throws the world's fault; `bound`: does not even then, because all ranks
  // are sure to come and read each other's memory until they do.
  void meet(const World& world, bool bound);

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::size_t arrived_ = 0;
  std::uint64_t round_ = 0;
  bool broken_ = false;
};
std::unique_ptr<Communicator> make_threads(World& world, int rank, std::shared_ptr<ThreadTeam> team);

// CPU ranks that are processes, through the plugin rlcpp_mpi.so, which is loaded here; one rank a process.
// path: as WorldOptions::mpi_plugin. Throws environment_error if plugin or MPI cannot be loaded, bad_input if
// MPI counts other ranks than the launch.
std::unique_ptr<Communicator> make_mpi(World& world, int rank, const std::string& path);

}  // namespace rlcpp::dist
