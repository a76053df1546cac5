// NCCL, loaded when the first communicator is made: one binary starts on machines with and without it.
#pragma once

#include <nccl.h>

#include <string>

namespace rlcpp::dist::cuda {

// The functions that we use, with the library's own signatures.
class NcclLibrary {
 public:
  // The one of the process. Throws environment_error, naming the library and how to get it, if there is none
  // or it is older than 2.18 (communicators that do not block).
  static const NcclLibrary& get();

  decltype(&::ncclGetVersion) get_version = nullptr;
  decltype(&::ncclGetErrorString) error_string = nullptr;
  decltype(&::ncclGetLastError) last_error = nullptr;
  decltype(&::ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&::ncclCommInitRankConfig) init = nullptr;
  decltype(&::ncclCommFinalize) finalize = nullptr;
  decltype(&::ncclCommDestroy) destroy = nullptr;
  decltype(&::ncclCommAbort) abort = nullptr;
  decltype(&::ncclCommGetAsyncError) async_error = nullptr;
  decltype(&::ncclAllReduce) all_reduce = nullptr;
  decltype(&::ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&::ncclAllGather) all_gather = nullptr;
  decltype(&::ncclBroadcast) broadcast = nullptr;
  decltype(&::ncclGroupStart) group_start = nullptr;
  decltype(&::ncclGroupEnd) group_end = nullptr;

  // "2.28.9".
  const std::string& version() const { return version_; }

 private:
  NcclLibrary();
  std::string version_;
};

}  // namespace rlcpp::dist::cuda
