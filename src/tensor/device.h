// Where memory lives and code runs. A build without CUDA, and a machine without a GPU, answer through the
// same calls: tensor/cuda_stub and tensor/cuda hold files of the same names, and CMake links one of the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp {

enum class DeviceKind : std::uint8_t { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

// What the driver says of one GPU.
struct GpuInfo {
  int index = 0;
  std::string name;
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;
  int compute_major = 0;
  int compute_minor = 0;
};

// Implemented by tensor/cuda or tensor/cuda_stub.
namespace cuda {
// True if this binary was built with CUDA.
bool compiled_in();
// GPUs that can be used now. Empty, with the cause in `why`, if there is no driver, no GPU or no CUDA in the
// build.
std::vector<GpuInfo> gpus(std::string* why);
// "CUDA runtime 13.0, driver 13.0", or why there is none.
std::string version();
// Memory for tensor/arena.h and tensor/copy.h. allocate throws environment_error with what is free; the
// others throw runtime_failure with the CUDA error. copy and fill return when done, after all earlier work of
// the device.
// Bytes of the GPU taken by all processes, and the same when this process first asked: its bare context and
// the others.
struct Taken {
  std::size_t now = 0, bare = 0, total = 0;
};
Taken memory_taken(Device device);
void* allocate(std::size_t bytes, Device device);
void release(void* memory, Device device) noexcept;
// Locks pages of the host and tells the GPU where they are, so that copies run beside the host and at full
// speed. Throws environment_error if the system refuses.
void pin(void* host, std::size_t bytes, Device device);
void unpin(void* host, Device device) noexcept;
void copy(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes);
void fill(void* memory, Device device, std::uint8_t value, std::size_t bytes);
// Throws runtime_failure naming the call and the error unless `status` (a cudaError_t) is success.
void check(int status, const char* what);
}  // namespace cuda

// The processor's name as the kernel reports it.
std::string cpu_name();
// What this process may use: the machine's memory, or less if a control group (a container, a batch job) says
// so.
std::size_t host_memory_bytes();
std::size_t host_memory_available_bytes();
// Largest memory of this process on the device so far, in bytes: on the CPU its resident set; on a GPU what
// the driver counts as taken now less what it counted when this process had a bare context (arena, libraries'
// own and their kernels; nothing is given back in a run, so now is the largest).
std::size_t peak_memory_bytes(Device device);
std::size_t memory_total_bytes(Device device);
// What a GPU's libraries may allocate themselves, beside the plan (cuBLASLt and cuDNN: 12 MiB measured on an
// H100); 0 on the CPU.
std::size_t library_reserve_bytes(Device device);
// What a plan on this device may take now: the host's as above; of a GPU what is free beside our context,
// less library_reserve_bytes(). 0 if there is no such GPU.
std::size_t memory_available_bytes(Device device);
// Largest resident set of this process so far, in bytes.
std::size_t peak_resident_bytes();
std::size_t resident_bytes();

struct DeviceChoice {
  Device device;
  std::string why;  // one sentence for the start banner
};

// `request`: "auto", "cpu", "cuda" or "cuda:N". Throws environment_error if a GPU was asked for by name and
// there is none, bad_input for anything else.
DeviceChoice choose_device(const std::string& request);
// The same for a run that is only planned: a GPU that is asked for by name need not be here, and `why` says
// so.
DeviceChoice choose_planned_device(const std::string& request, bool* absent);

}  // namespace rlcpp
