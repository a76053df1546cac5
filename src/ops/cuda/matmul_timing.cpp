#include "ops/cuda/matmul_timing.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "tensor/device.h"

namespace rlcpp::ops::cuda {
namespace {

// A round runs every candidate a few times, so that a clock that rises while we measure favours none. The
// first round only warms up.
constexpr int kTimingRounds = 6;
constexpr int kRunsARound = 3;

using TimingEvent = std::unique_ptr<CUevent_st, decltype(&cudaEventDestroy)>;

TimingEvent make_event() {
  cudaEvent_t event = nullptr;
  rlcpp::cuda::check(cudaEventCreate(&event), "cudaEventCreate");
  return {event, &cudaEventDestroy};
}

}  // namespace

TrialOutput::TrialOutput(std::size_t bytes) {
  if (bytes == 0) return;
  if (cudaMalloc(&memory_, bytes) == cudaSuccess) return;
  memory_ = nullptr;
  cudaGetLastError();  // too little memory is no error here, and must not be reported by the next call
}

TrialOutput::~TrialOutput() {
  if (memory_ != nullptr) cudaFree(memory_);
}

std::size_t fastest(std::size_t count, const std::function<bool(std::size_t)>& run, cudaStream_t stream) {
  constexpr float kNever = std::numeric_limits<float>::infinity();
  const TimingEvent begin = make_event();
  const TimingEvent end = make_event();
  std::vector<float> best(count, kNever);  // milliseconds a round
  std::vector<bool> works(count, true);
  for (int round = 0; round < kTimingRounds; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      if (!works[i]) continue;
      rlcpp::cuda::check(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
      for (int again = 0; again < kRunsARound && works[i]; ++again) works[i] = run(i);
      rlcpp::cuda::check(cudaEventRecord(end.get(), stream), "cudaEventRecord");
      rlcpp::cuda::check(cudaEventSynchronize(end.get()), "measuring a product");
      float milliseconds = 0.0F;
      rlcpp::cuda::check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
      if (!works[i]) {
        best[i] = kNever;
      } else if (round > 0) {
        best[i] = std::min(best[i], milliseconds);
      }
    }
  }
  const float limit = *std::min_element(best.begin(), best.end()) * 1.01F;
  const auto first = std::find_if(best.begin(), best.end(), [&](float time) { return time <= limit; });
  return static_cast<std::size_t>(first - best.begin());
}

}  // namespace rlcpp::ops::cuda
