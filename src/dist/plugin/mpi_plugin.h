// What the binary and rlcpp_mpi.so have in common. MPI has no common binary interface: the plugin is compiled
// against the MPI of the machine, and only this table of plain C functions crosses the border.
#pragma once

#include <cstdint>

namespace rlcpp::dist {

constexpr int kMpiPluginVersion = 1;
constexpr const char* kMpiPluginEntry = "rlcpp_mpi_plugin";

// All return 0, or an MPI error whose text is `error_text`. Collectives are begun, one at a time, and end
// when test() says so: MPI itself has no time-out. Sizes and places count elements of `width` bytes (1, 2, 4
// or 8).
struct MpiPlugin {
  int version;
  // Joins MPI; -1: its threads are not safe enough. Only once in a process.
  int (*initialise)(int* rank, int* size);
  const char* (*library)();  // "Open MPI v4.1.4"
  const char* (*error_text)(int error);
  int (*all_to_all)(const void* send, const int* send_counts, const int* send_places, void* receive,
                    const int* receive_counts, const int* receive_places, int width);
  // In place: the part of this rank lies in `data` already.
  int (*all_gather)(void* data, const int* counts, const int* places, int width);
  int (*broadcast)(void* data, int count, int width, int root);
  int (*barrier)();
  int (*test)(int* done);
  int (*finalise)();
};
using MpiPluginEntry = const MpiPlugin* (*)();

}  // namespace rlcpp::dist
