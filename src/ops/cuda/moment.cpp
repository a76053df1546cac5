#include "ops/cuda/moment.h"

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

class Event {
 public:
  explicit Event(const Context& ctx) : runtime_(ctx.cuda) {
    rlcpp::cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void mark() { rlcpp::cuda::check(cudaEventRecord(event_, runtime_->stream()), "cudaEventRecord"); }
  void wait() const { rlcpp::cuda::check(cudaEventSynchronize(event_), "waiting for operations"); }

 private:
  std::shared_ptr<Runtime> runtime_;
  cudaEvent_t event_ = nullptr;
};

void EventDeleter::operator()(Event* event) const {
  delete event;
}

std::unique_ptr<Event, EventDeleter> make_event(const Context& ctx) {
  return std::unique_ptr<Event, EventDeleter>(new Event(ctx));
}
void mark(Event& event) {
  event.mark();
}
void wait(const Event& event) {
  event.wait();
}

}  // namespace rlcpp::ops::cuda
