#include "ops/cuda/copy_queue.h"

#include <vector>

#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

using rlcpp::cuda::check;

// Holds its stream up for so long, by the clock of the GPU.
__global__ void wait_kernel(long long nanoseconds) {
  long long begin = 0, now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - begin < nanoseconds);
}

void wait_on(cudaStream_t stream, double microseconds) {
  if (microseconds <= 0) return;
  wait_kernel<<<1, 1, 0, stream>>>(static_cast<long long>(microseconds * 1e3));
  check_launch("wait");
}

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

}  // namespace

// The stream does not wait for the default stream, nor that for it: events alone order its copies. So
// tensor/copy.h does not see them, and who reads memory that a queue writes asks the queue.
class CopyStream {
 public:
  CopyStream(const Context& ctx, std::size_t marks) : runtime_(ctx.cuda) {
    check(cudaSetDevice(ctx.device.index), "cudaSetDevice");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    operations_ = make_event();
    for (std::size_t i = 0; i < marks; ++i) marks_.push_back(make_event());
  }
  ~CopyStream() {
    cudaStreamSynchronize(stream_);
    for (cudaEvent_t event : marks_) cudaEventDestroy(event);
    cudaEventDestroy(operations_);
    cudaStreamDestroy(stream_);
  }
  CopyStream(const CopyStream&) = delete;
  CopyStream& operator=(const CopyStream&) = delete;

  // The delay comes before the event: copies that did not follow would not wait for it.
  void follow_operations() {
    wait_on(runtime_->stream(), runtime_->delays().operation);
    check(cudaEventRecord(operations_, runtime_->stream()), "cudaEventRecord");
    check(cudaStreamWaitEvent(stream_, operations_), "cudaStreamWaitEvent");
  }
  // An event that was never recorded holds nothing up.
  void follow(const CopyStream& other, std::size_t mark) {
    check(cudaStreamWaitEvent(stream_, other.marks_.at(mark)), "cudaStreamWaitEvent");
  }
  void copy(const Tensor& to, const Tensor& from) {
    wait_on(stream_, runtime_->delays().copy);
    check(cudaMemcpyAsync(to.raw(), from.raw(), to.bytes(), cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
  }
  void mark(std::size_t mark) { check(cudaEventRecord(marks_.at(mark), stream_), "cudaEventRecord"); }
  void hold_operations(std::size_t mark) const {
    check(cudaStreamWaitEvent(runtime_->stream(), marks_.at(mark)), "cudaStreamWaitEvent");
  }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "a copy beside the operations"); }

 private:
  std::shared_ptr<Runtime> runtime_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t operations_ = nullptr;
  std::vector<cudaEvent_t> marks_;
};

void CopyStreamDeleter::operator()(CopyStream* stream) const {
  delete stream;
}

std::unique_ptr<CopyStream, CopyStreamDeleter> make_copy_stream(const Context& ctx, std::size_t marks) {
  return std::unique_ptr<CopyStream, CopyStreamDeleter>(new CopyStream(ctx, marks));
}
void follow_operations(CopyStream& stream) {
  stream.follow_operations();
}
void follow(CopyStream& stream, const CopyStream& other, std::size_t mark) {
  stream.follow(other, mark);
}
void copy(CopyStream& stream, const Tensor& to, const Tensor& from) {
  stream.copy(to, from);
}
void mark(CopyStream& stream, std::size_t mark) {
  stream.mark(mark);
}
void hold_operations(const CopyStream& stream, std::size_t mark) {
  stream.hold_operations(mark);
}
void synchronize(const CopyStream& stream) {
  stream.synchronize();
}
void delay_for_tests(const Context& ctx, double copy_microseconds, double operation_microseconds) {
  ctx.cuda->delays() = {copy_microseconds, operation_microseconds};
}

}  // namespace rlcpp::ops::cuda
