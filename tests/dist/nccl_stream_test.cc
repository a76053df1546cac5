// Collectives beside compute: what their order on streams promises, and that they do run at the same time.
// Only in a build with CUDA; skipped with fewer than two GPUs.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "ranks.h"

namespace rlcpp::dist {
namespace {

using rlcpp::cuda::check;

class NcclStreams : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::gpus(&why).size() < 2) GTEST_SKIP() << "two GPUs are needed";
  }
  static WorldOptions world() {
    WorldOptions options;
    options.device = DeviceKind::kCuda;
    options.launch.devices = {0, 1};
    options.deadlines = long_deadlines();
    return options;
  }
};

// Two streams of a rank and four pieces of memory of its GPU.
struct Lab {
  static constexpr std::int64_t kCount = std::int64_t{64} << 20;  // f32, 256 MiB each
  explicit Lab(Device where) : device(where) {
    check(cudaSetDevice(device.index), "cudaSetDevice");
    for (cudaStream_t& stream : streams) check(cudaStreamCreate(&stream), "cudaStreamCreate");
    for (void*& memory : pieces) memory = cuda::allocate(kCount * 4, device);
  }
  ~Lab() {
    for (void* memory : pieces) cuda::release(memory, device);
    for (cudaStream_t stream : streams) cudaStreamDestroy(stream);
  }
  Tensor tensor(std::size_t piece) const { return Tensor(pieces[piece], DType::kF32, {kCount}, device); }
  void copy_on(std::size_t stream, std::size_t to, std::size_t from) const {
    check(cudaMemcpyAsync(pieces[to], pieces[from], kCount * 4, cudaMemcpyDeviceToDevice, streams[stream]),
          "copy");
  }
  void wait(std::size_t stream) const { check(cudaStreamSynchronize(streams[stream]), "wait"); }

  Device device;
  std::array<cudaStream_t, 2> streams = {};
  std::array<void*, 4> pieces = {};
};

// x is written late on one stream, summed over the ranks, and read on another stream; no host waits in
// between.
TEST_F(NcclStreams, ACollectiveComesAfterItsInputAndBeforeItsReader) {
  World both(world());
  const auto errors = run_ranks(both, [](Communicator& c) {
    const Lab lab(c.device());
    std::vector<float> values(Lab::kCount, static_cast<float>(c.rank() + 1));
    for (int round = 0; round < 5; ++round) {
      from_floats(lab.tensor(0), values);
      cuda::fill(lab.pieces[1], c.device(), 0xFF, Lab::kCount * 4);  // NaN until the copy below
      cuda::fill(lab.pieces[2], c.device(), 0xFF, Lab::kCount * 4);
      for (int i = 0; i < 20; ++i) lab.copy_on(0, 3, 0);  // keeps the stream busy
      lab.copy_on(0, 1, 0);
      const Ticket ticket = c.all_reduce(lab.tensor(1), Reduction::kSum, "sum", {lab.streams[0]});
      ticket.before({lab.streams[1]});
      lab.copy_on(1, 2, 1);
      lab.wait(1);
      const std::vector<float> result = to_floats(lab.tensor(2));
      ASSERT_EQ(std::count(result.begin(), result.end(), 3.0F), Lab::kCount) << round;
    }
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

// The stream that computes is held up until the collective is over: it ends nevertheless.
TEST_F(NcclStreams, ACollectiveRunsBesideCompute) {
  World both(world());
  const auto errors = run_ranks(both, [](Communicator& c) {
    const Lab lab(c.device());
    const std::vector<float> values(Lab::kCount, static_cast<float>(c.rank() + 1));
    from_floats(lab.tensor(0), values);
    c.barrier("start");
    std::atomic<bool> over = false;
    const auto hold_up = [](void* flag) {
      while (!static_cast<std::atomic<bool>*>(flag)->load()) std::this_thread::yield();
    };
    lab.copy_on(0, 3, 2);
    check(cudaLaunchHostFunc(lab.streams[0], hold_up, &over), "cudaLaunchHostFunc");
    lab.copy_on(0, 3, 2);
    c.all_reduce(lab.tensor(0), Reduction::kSum, "sum", {lab.streams[1]}).wait();
    EXPECT_EQ(cudaStreamQuery(lab.streams[0]), cudaErrorNotReady);
    over = true;
    lab.wait(0);
    const std::vector<float> result = to_floats(lab.tensor(0));
    EXPECT_EQ(std::count(result.begin(), result.end(), 3.0F), Lab::kCount);
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

}  // namespace
}  // namespace rlcpp::dist
