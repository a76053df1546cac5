#include "tensor/device.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "support.h"
#include "tensor/driver_parts.h"
#include "tensor/host_memory.h"

namespace rlcpp {
namespace {

namespace fs = std::filesystem;

void write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

std::size_t count_gpus() {
  std::string why;
  return cuda::gpus(&why).size();
}

TEST(ChooseDevice, CpuIsAlwaysThere) {
  EXPECT_EQ(choose_device("cpu").device, Device{});
  const DeviceChoice choice = choose_device("auto");
  EXPECT_EQ(choice.device.kind, count_gpus() > 0 ? DeviceKind::kCuda : DeviceKind::kCpu);
  EXPECT_FALSE(choice.why.empty());
}

TEST(ChooseDevice, UnknownNamesAreBadInput) {
  for (const char* name :
       {"", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999", "cudax", "cpu:0"}) {
    try {
      choose_device(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << name;
      EXPECT_NE(error.help().find("cuda:N"), std::string::npos);
    }
  }
}

TEST(ChooseDevice, AGpuAskedForByNameMustExist) {
  for (const auto& [name, index] :
       {std::pair{"cuda", 0}, std::pair{"cuda:0", 0}, std::pair{"cuda:9999", 9999}}) {
    if (static_cast<std::size_t>(index) < count_gpus()) {
      EXPECT_EQ(choose_device(name).device, (Device{DeviceKind::kCuda, index})) << name;
      continue;
    }
    try {
      choose_device(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment) << name;
      EXPECT_FALSE(error.because().empty());
      EXPECT_NE(error.help().find("--device cpu"), std::string::npos);
    }
  }
}

// Each missing part has a sentence of its own, and none is the runtime's, which is the same for several of
// them.
TEST(ChooseDevice, TheMissingPartOfTheDriverIsNamed) {
  const auto expect = [](const DriverParts& parts, const std::string& named) {
    EXPECT_NE(missing_part(parts).find(named), std::string::npos) << missing_part(parts);
  };
  DriverParts parts;
  parts.answer = "CUDA driver version is insufficient for CUDA runtime version";
  parts.runtime = 13000;
  expect(parts, "there is no NVIDIA driver here");
  EXPECT_EQ(missing_part(parts).find("insufficient"), std::string::npos);
  parts.module = true;
  expect(parts, "libcuda.so.1 is not found");
  parts.library = true;
  expect(parts, "no device file /dev/nvidia0");
  parts.module = false;
  expect(parts, "kernel module is not loaded");
  parts.module = parts.node = true;
  parts.driver = 12020;
  expect(parts, "too old: it supports CUDA 12.2, and this binary needs 13.0");
  parts.driver = 13000;
  parts.answer = "no CUDA-capable device is detected";
  expect(parts, "lists no GPU that can be used (no CUDA-capable");
  parts.visible = "";
  expect(parts, "CUDA_VISIBLE_DEVICES=\"\" leaves no GPU");
}

TEST(ChooseDevice, PartsOfTheDriverAreLookedAtWhereTheyLie) {
  const test::TemporaryDirectory dir;
  EXPECT_FALSE(look_at_driver(dir / "nothing").module);
  write(dir / "dev/nvidia-uvm", "");
  write(dir / "dev/nvidiactl", "");
  EXPECT_FALSE(look_at_driver(dir.path()).node);
  write(dir / "dev/nvidia3", "");
  write(dir / "proc/driver/nvidia/version", "NVRM version\n");
  EXPECT_TRUE(look_at_driver(dir.path()).node);
  EXPECT_TRUE(look_at_driver(dir.path()).module);
  write(dir / "wsl/dev/dxg", "");
  EXPECT_TRUE(look_at_driver(dir / "wsl").module && look_at_driver(dir / "wsl").node);
  // What the runtime says here, if it finds nothing.
  std::string why;
  if (cuda::compiled_in() && cuda::gpus(&why).empty()) {
    EXPECT_EQ(why.find("insufficient for CUDA runtime"), std::string::npos) << why;
  }
}

TEST(Host, FactsArePlausible) {
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_GT(host_memory_bytes(), std::size_t{1} << 27);
  EXPECT_GT(host_memory_available_bytes(), 0U);
  EXPECT_LE(host_memory_available_bytes(), host_memory_bytes());
  EXPECT_GT(resident_bytes(), std::size_t{1} << 20);
  EXPECT_GE(peak_resident_bytes(), std::size_t{1} << 20);
  EXPECT_FALSE(cuda::version().empty());
}

class HostMemoryFiles : public testing::Test {
 protected:
  void SetUp() override {
    write(dir_ / "proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    800 kB\n");
  }
  HostMemory read() { return read_host_memory(dir_ / "proc", dir_ / "cgroup"); }
  test::TemporaryDirectory dir_;
};

constexpr std::size_t kKiB = 1024;

TEST_F(HostMemoryFiles, WithoutGroupsTheMachineCounts) {
  EXPECT_EQ(read().total, 1000 * kKiB);
  EXPECT_EQ(read().available, 800 * kKiB);
  write(dir_ / "proc/self/cgroup", "0::/\n");
  write(dir_ / "cgroup/memory.max", "max\n");
  EXPECT_EQ(read().total, 1000 * kKiB);
  EXPECT_EQ(read_host_memory(dir_ / "nothing", dir_ / "nothing").total, 0U);
}

TEST_F(HostMemoryFiles, TheLowestLimitOfAllGroupsAboveCounts) {
  write(dir_ / "proc/self/cgroup", "0::/job/task\n");
  write(dir_ / "cgroup/job/task/memory.max", "614400\n");  // 600 KiB
  write(dir_ / "cgroup/job/task/memory.current", "204800\n");
  write(dir_ / "cgroup/job/task/memory.stat", "anon 5\nactive_file 9\ninactive_file 102400\n");
  EXPECT_EQ(read().total, 600 * kKiB);
  EXPECT_EQ(read().available, 500 * kKiB);
  // The job is wider, but nearly used up by others.
  write(dir_ / "cgroup/job/memory.max", "716800\n");
  write(dir_ / "cgroup/job/memory.current", "614400\n");
  EXPECT_EQ(read().total, 600 * kKiB);
  EXPECT_EQ(read().available, 100 * kKiB);
  write(dir_ / "cgroup/job/memory.current", "999999999\n");
  EXPECT_EQ(read().available, 0U);
}

TEST_F(HostMemoryFiles, VersionOneAndContainerRootsAreRead) {
  write(dir_ / "proc/self/cgroup", "12:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/docker/abc\nrubbish\n");
  write(dir_ / "cgroup/memory/memory.limit_in_bytes", "409600\n");
  write(dir_ / "cgroup/memory/memory.usage_in_bytes", "102400\n");
  write(dir_ / "cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 2048\n");
  EXPECT_EQ(read().total, 400 * kKiB);
  EXPECT_EQ(read().available, 302 * kKiB);
  write(dir_ / "cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // version 1's "no limit"
  EXPECT_EQ(read().total, 1000 * kKiB);
  EXPECT_EQ(read().available, 800 * kKiB);
}

}  // namespace
}  // namespace rlcpp
