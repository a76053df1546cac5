// The devices that the tests of operations run on: the CPU and, where there is one, a GPU.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>
#include <string>
#include <vector>

#include "ops/workspace.h"

namespace rlcpp::test {

// One pool of each size for the whole program: starting threads costs more than most cases.
inline ThreadPool& shared_pool(int threads) {
  static ThreadPool one(1);
  static ThreadPool two(2);
  static ThreadPool three(3);
  return threads == 1 ? one : threads == 2 ? two : three;
}

inline ops::Context cpu_context(int threads = 2) {
  return ops::make_context(Device{}, shared_pool(threads));
}

inline bool has_gpu() {
  static const bool found = [] {
    std::string why;
    return !cuda::gpus(&why).empty();
  }();
  return found;
}

// ./test.sh --gpu sets it: then a machine without a usable GPU is a failure, not a smaller test.
inline bool gpu_expected() {
  const char* value = std::getenv("RLCPP_TEST_GPU");
  return value != nullptr && std::string(value) == "1";
}

// The context of the first GPU with its scratch memory: one for the program, because its libraries take
// seconds to start. It is never destroyed, since the driver may go first at exit.
inline const ops::Context& gpu_context() {
  static const ops::Context* const made = [] {
    const Device device = {DeviceKind::kCuda, 0};
    constexpr std::int64_t kWorkspace = std::int64_t{512} << 20;
    auto* ctx = new ops::Context(ops::make_context(device, shared_pool(2)));
    void* memory = cuda::allocate(kWorkspace, device);
    cuda::fill(memory, device, 0xFF, kWorkspace);  // what nobody wrote reads as NaN
    ops::use_workspace(*ctx, Tensor(memory, DType::kU8, {kWorkspace}, device));
    return ctx;
  }();
  return *made;
}

enum class BackEnd { kCpu, kCuda };

inline const char* name_of(BackEnd back_end) {
  return back_end == BackEnd::kCpu ? "Cpu" : "Cuda";
}
inline void PrintTo(BackEnd back_end, std::ostream* out) {
  *out << name_of(back_end);
}

inline std::vector<BackEnd> back_ends() {
  return has_gpu() ? std::vector{BackEnd::kCpu, BackEnd::kCuda} : std::vector{BackEnd::kCpu};
}

// Tests named Suite.Test/Cpu and, only where there is a GPU, Suite.Test/Cuda:
//   using Norm = OnEveryDevice;
//   INSTANTIATE_TEST_SUITE_P(, Norm, every_device(), device_name);
//   TEST_P(Norm, ForwardAgreesWithTheReference) { const ops::Context ctx = context(); ... }
class OnEveryDevice : public testing::TestWithParam<BackEnd> {
 protected:
  static ops::Context context() { return GetParam() == BackEnd::kCpu ? cpu_context() : gpu_context(); }
};
inline auto every_device() {
  return testing::ValuesIn(back_ends());
}
// For what only a GPU has; nothing without one, so the suite also needs
//   GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Suite);
inline auto a_gpu() {
  return testing::ValuesIn(has_gpu() ? std::vector{BackEnd::kCuda} : std::vector<BackEnd>{});
}
inline std::string device_name(const testing::TestParamInfo<BackEnd>& info) {
  return name_of(info.param);
}

}  // namespace rlcpp::test
