// Collectives beside compute: what their order on streams promises, and that they do run at the same time.
// Only in a build with CUDA; skipped with fewer than two GPUs.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <chrono>

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

TEST_F(NcclStreams, ACollectiveRunsBesideCompute) {
  World both(world());
  const auto errors = run_ranks(both, [](Communicator& c) {
    const Lab lab(c.device());
    const auto median = [&](bool compute, bool communicate) {
      std::vector<double> times;
      for (int i = 0; i < 15; ++i) {
        c.barrier("start");
        const auto begin = std::chrono::steady_clock::now();
        Ticket ticket;
        for (int k = 0; k < 4 && communicate; ++k) {
          ticket = c.all_reduce(lab.tensor(0), Reduction::kMax, "largest", {lab.streams[1]});
        }
        for (int k = 0; k < 20 && compute; ++k) lab.copy_on(0, 3, 2);
        lab.wait(0);
        ticket.wait();
        times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
      std::nth_element(times.begin(), times.begin() + 7, times.end());
      return times[7];
    };
    const double compute = median(true, false), communicate = median(false, true),
                 together = median(true, true);
    EXPECT_LT(together, 0.85 * (compute + communicate))
        << "rank " << c.rank() << ": compute " << compute << " s, collectives " << communicate
        << " s, together " << together << " s";
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

}  // namespace
}  // namespace rlcpp::dist
