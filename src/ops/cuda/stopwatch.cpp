#include "ops/cuda/stopwatch.h"

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

class EventPair {
 public:
  explicit EventPair(const Context& ctx) : runtime_(ctx.cuda) {
    rlcpp::cuda::check(cudaEventCreate(&begin_), "cudaEventCreate");
    const int status = cudaEventCreate(&end_);
    if (status != cudaSuccess) cudaEventDestroy(begin_);
    rlcpp::cuda::check(status, "cudaEventCreate");
  }
  ~EventPair() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  EventPair(const EventPair&) = delete;
  EventPair& operator=(const EventPair&) = delete;

  void start() { rlcpp::cuda::check(cudaEventRecord(begin_, runtime_->stream()), "cudaEventRecord"); }
  double stop() {
    rlcpp::cuda::check(cudaEventRecord(end_, runtime_->stream()), "cudaEventRecord");
    rlcpp::cuda::check(cudaEventSynchronize(end_), "measuring an operation");
    float milliseconds = 0.0F;
    rlcpp::cuda::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  std::shared_ptr<Runtime> runtime_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

void EventPairDeleter::operator()(EventPair* pair) const {
  delete pair;
}

std::unique_ptr<EventPair, EventPairDeleter> make_event_pair(const Context& ctx) {
  return std::unique_ptr<EventPair, EventPairDeleter>(new EventPair(ctx));
}
void start(EventPair& pair) {
  pair.start();
}
double stop(EventPair& pair) {
  return pair.stop();
}

}  // namespace rlcpp::ops::cuda
