#include "dist/cuda/nccl_library.h"

#include <dlfcn.h>

#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::dist::cuda {
namespace {

constexpr std::array kNcclNames = {"libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2",
                                   "/usr/local/cuda/lib/libnccl.so.2"};
constexpr int kOldest = NCCL_VERSION(2, 18, 0);

Error nccl_missing(std::string what, std::string because) {
  return environment_error(
      std::move(what), std::move(because),
      "install NCCL (the packages libnccl2 of NVIDIA's repository or nvidia-nccl-cu13 of "
      "PyPI have it) and name its folder in LD_LIBRARY_PATH, or use one GPU");
}

template <class Function>
void resolve_nccl(void* library, const char* symbol, Function*& place) {
  place = reinterpret_cast<Function*>(::dlsym(library, symbol));
  if (place != nullptr) return;
  throw nccl_missing(fmt::format("the NCCL of this machine has no function {}", symbol),
                     "it is another library of that name, or too old");
}

}  // namespace

NcclLibrary::NcclLibrary() {
  std::string tried;
  void* library = nullptr;
  for (const char* name : kNcclNames) {
    // Never closed: its threads and kernels live as long as the process.
    library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library != nullptr) break;
    if (const char* reason = ::dlerror(); reason != nullptr && tried.empty()) tried = reason;
  }
  if (library == nullptr) {
    throw nccl_missing("NCCL cannot be loaded (libnccl.so.2); several GPUs need it", tried);
  }
  resolve_nccl(library, "ncclGetVersion", get_version);
  resolve_nccl(library, "ncclGetErrorString", error_string);
  resolve_nccl(library, "ncclGetLastError", last_error);
  resolve_nccl(library, "ncclGetUniqueId", get_unique_id);
  resolve_nccl(library, "ncclCommInitRankConfig", init);
  resolve_nccl(library, "ncclCommFinalize", finalize);
  resolve_nccl(library, "ncclCommDestroy", destroy);
  resolve_nccl(library, "ncclCommAbort", abort);
  resolve_nccl(library, "ncclCommGetAsyncError", async_error);
  resolve_nccl(library, "ncclAllReduce", all_reduce);
  resolve_nccl(library, "ncclReduceScatter", reduce_scatter);
  resolve_nccl(library, "ncclAllGather", all_gather);
  resolve_nccl(library, "ncclBroadcast", broadcast);
  resolve_nccl(library, "ncclGroupStart", group_start);
  resolve_nccl(library, "ncclGroupEnd", group_end);
  int code = 0;
  get_version(&code);
  version_ = fmt::format("{}.{}.{}", code / 10000, code % 10000 / 100, code % 100);
  if (code < kOldest)
    throw nccl_missing(fmt::format("NCCL {} is too old", version_), "2.18 or newer is needed");
}

const NcclLibrary& NcclLibrary::get() {
  static const NcclLibrary library;
  return library;
}

}  // namespace rlcpp::dist::cuda
