#include "app/doctor_checks.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

#include "app/hub_models.h"
#include "monitor/console.h"
#include "ops/context.h"
#include "tensor/device.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

std::string os_name() {
  std::ifstream in("/etc/os-release");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string name = line.substr(12);
    std::erase(name, '"');
    return name;
  }
  return "unknown distribution";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

// 13.1.0 of 130100 and the like.
std::string dotted(std::size_t number, std::size_t major, std::size_t minor) {
  return fmt::format("{}.{}.{}", number / major, number % major / minor, number % minor);
}

std::string number_of(const FoundLibrary& library, const char* function, std::size_t major,
                      std::size_t minor) {
  const auto version = reinterpret_cast<std::size_t (*)()>(dlsym(library.handle, function));
  return version == nullptr ? "of unknown version" : dotted(version(), major, minor);
}

std::string text_of(const FoundLibrary& library, const char* function) {
  const auto version = reinterpret_cast<const char* (*)()>(dlsym(library.handle, function));
  if (version == nullptr) return "of unknown version";
  const std::string text = version();
  const std::string word = text.substr(0, text.find(' '));  // "libcurl/7.88.1 OpenSSL/3.0.15 ..."
  return word.substr(word.find('/') + 1);
}

std::string nccl_version(const FoundLibrary& library) {
  const auto version = reinterpret_cast<int (*)(int*)>(dlsym(library.handle, "ncclGetVersion"));
  int number = 0;
  if (version == nullptr || version(&number) != 0) return "of unknown version";
  return dotted(static_cast<std::size_t>(number), 10000, 100);
}

template <class Version>
Check check_library(const char* name, const std::vector<std::string>& names, const char* without,
                    const char* help, Health missing, const Version& version) {
  const FoundLibrary library = find_library(names);
  if (library.handle == nullptr)
    return {missing, name, fmt::format("not found; {} ({})", without, library.why), help};
  return {Health::kOk, name, fmt::format("{}, {}", version(library), library.path), {}};
}

Check nvidia_gpu_without_cuda() {
  std::error_code ignored;
  if (!fs::exists("/proc/driver/nvidia/version", ignored))
    return {Health::kInfo, "GPU", "none, and this rlcpp has no CUDA back end", {}};
  return {Health::kMissing, "GPU",
          "there is an NVIDIA driver, but this rlcpp was built without the CUDA back end",
          "take the release with CUDA, or build the preset cuda"};
}

std::string folder_of_program() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path().string();
}

}  // namespace

FoundLibrary find_library(const std::vector<std::string>& names) {
  FoundLibrary out;
  for (const std::string& name : names) {
    out.handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (out.handle != nullptr) break;
    if (const char* why = dlerror(); why != nullptr && out.why.empty()) out.why = why;
  }
  if (out.handle == nullptr) return out;
  const link_map* map = nullptr;
  if (dlinfo(out.handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) out.path = map->l_name;
  return out;
}

std::vector<Check> check_machine() {
  utsname kernel{};
  uname(&kernel);
  return {
      {Health::kOk,
       "processor",
       fmt::format("{}, {} cores usable, kernels for {}", cpu_name(), usable_cores(), ops::instruction_set()),
       {}},
      {Health::kOk,
       "memory",
       fmt::format("{}, {} available", monitor::gib(static_cast<double>(host_memory_bytes())),
                   monitor::gib(static_cast<double>(host_memory_available_bytes()))),
       {}},
      {Health::kOk,
       "system",
       fmt::format("{}, glibc {}, {} {} {}", os_name(), gnu_get_libc_version(), kernel.sysname,
                   kernel.release, kernel.machine),
       {}},
  };
}

std::vector<Check> check_gpus() {
  if (!cuda::compiled_in()) return {nvidia_gpu_without_cuda()};
  std::string why;
  const std::vector<GpuInfo> gpus = cuda::gpus(&why);
  if (gpus.empty()) {
    return {{Health::kInfo, "GPU", fmt::format("none can be used: {} (CUDA {})", why, cuda::version()),
             "if there should be one: nvidia-smi must list it, and its driver be as new as the runtime"}};
  }
  std::vector<Check> out = {{Health::kOk, "CUDA", cuda::version(), {}}};
  for (const GpuInfo& gpu : gpus) {
    const std::string text = fmt::format("{}, compute {}.{}, {} of {} free", gpu.name, gpu.compute_major,
                                         gpu.compute_minor, monitor::gib(static_cast<double>(gpu.free_bytes)),
                                         monitor::gib(static_cast<double>(gpu.total_bytes)));
    const std::string name = fmt::format("GPU {}", gpu.index);
    if (gpu.compute_major < 8) {
      out.push_back(
          {Health::kProblem, name, text + ": older than Ampere, which rlcpp needs", "run with --device cpu"});
    } else {
      out.push_back({Health::kOk, name, text, {}});
    }
  }
  out.push_back(check_library(
      "cuBLASLt",
      {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", "/usr/local/cuda/lib64/libcublasLt.so"},
      "a GPU cannot be used without it",
      "install libcublas-13-0 (NVIDIA's repository) or nvidia-cublas (PyPI), and name its folder in "
      "LD_LIBRARY_PATH",
      Health::kProblem,
      [](const FoundLibrary& l) { return number_of(l, "cublasLtGetVersion", 10000, 100); }));
  out.push_back(check_library(
      "cuDNN", {"libcudnn.so.9", "libcudnn.so", "/usr/local/cuda/lib64/libcudnn.so.9"},
      "attention is slower without it",
      "install cudnn9-cuda-13 (NVIDIA's repository) or nvidia-cudnn-cu13 (PyPI), and name its folder in "
      "LD_LIBRARY_PATH",
      Health::kMissing, [](const FoundLibrary& l) { return number_of(l, "cudnnGetVersion", 10000, 100); }));
  out.push_back(check_library(
      "NCCL", {"libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2", "/usr/local/cuda/lib/libnccl.so.2"},
      "several GPUs need it",
      "install libnccl2 (NVIDIA's repository) or nvidia-nccl-cu13 (PyPI), and name its folder in "
      "LD_LIBRARY_PATH",
      gpus.size() > 1 ? Health::kProblem : Health::kMissing, nccl_version));
  return out;
}

std::vector<Check> check_libraries() {
  std::vector<Check> out;
  out.push_back(check_library("libcurl", {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"},
                              "hub ids cannot be downloaded", "apt-get install libcurl4", Health::kMissing,
                              [](const FoundLibrary& l) { return text_of(l, "curl_version"); }));
  out.push_back(check_library("libzstd", {"libzstd.so.1"}, ".zst files and zstd in Parquet cannot be read",
                              "apt-get install libzstd1", Health::kMissing,
                              [](const FoundLibrary& l) { return text_of(l, "ZSTD_versionString"); }));
  out.push_back(check_library("zlib", {"libz.so.1"}, "gzip in Parquet cannot be read",
                              "apt-get install zlib1g", Health::kMissing,
                              [](const FoundLibrary& l) { return text_of(l, "zlibVersion"); }));
  const std::string here = folder_of_program();
  std::error_code ignored;
  std::string plugin = here + "/rlcpp_mpi.so";
  if (!fs::exists(plugin, ignored)) plugin = here + "/../lib/rlcpp_mpi.so";
  if (!fs::exists(plugin, ignored)) {
    out.push_back({Health::kMissing, "MPI",
                   "rlcpp_mpi.so is not beside the program; CPU ranks are threads of one process",
                   "build rlcpp where an MPI is installed (openmpi-bin, libopenmpi-dev)"});
  } else {
    out.push_back(check_library("MPI", {plugin}, "CPU ranks cannot be several processes",
                                "apt-get install openmpi-bin", Health::kMissing,
                                [](const FoundLibrary&) { return std::string("the plugin loads"); }));
  }
  return out;
}

Check check_folder(const std::string& name, const std::string& path, double room_wanted) {
  fs::path there = path;
  std::error_code error;
  while (!fs::exists(there, error) && there.has_parent_path() && there != there.parent_path())
    there = there.parent_path();
  const bool made = there == fs::path(path);
  if (!fs::is_directory(there, error))
    return {Health::kProblem, name, fmt::format("{} is no directory", there.string()),
            "move it out of the way"};
  if (access(there.c_str(), W_OK | X_OK) != 0)
    return {Health::kProblem, name, fmt::format("{} cannot be written", there.string()),
            "give yourself the right, or name another place"};
  const fs::space_info space = fs::space(there, error);
  const auto free = error ? 0.0 : static_cast<double>(space.available);
  const std::string text =
      fmt::format("{}{}, {} free", path, made ? "" : " (made when it is needed)", monitor::gib(free));
  if (free < room_wanted)
    return {Health::kProblem, name, text, fmt::format("make room: {} are little", monitor::gib(room_wanted))};
  return {Health::kOk, name, text, {}};
}

std::vector<Check> check_places() {
  const hub::HubOptions hub = hub_options();
  constexpr double kMiB = 1024.0 * 1024.0;
  std::error_code error;
  const std::string temporary = fs::temp_directory_path(error).string();
  std::vector<Check> out = {check_folder("model cache", hub.cache, 1024 * kMiB)};
  out.push_back(
      error ? Check{Health::kProblem, "temporary", error.message(), "set TMPDIR to a directory that exists"}
            : check_folder("temporary", temporary, 64 * kMiB));
  out.push_back({Health::kInfo,
                 "hub",
                 hub.offline
                     ? "offline (HF_HUB_OFFLINE): only what the cache holds"
                     : fmt::format("{}, {}", hub.endpoint, hub.token.empty() ? "no token" : "with a token"),
                 {}});
  return out;
}

}  // namespace rlcpp::app
