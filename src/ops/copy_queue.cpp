#include "ops/copy_queue.h"

#include <algorithm>
#include <vector>

#include "ops/cuda/copy_queue.h"
#include "tensor/copy.h"

namespace rlcpp::ops {

// One of two: copies that wait to be made, or a stream.
struct CopyQueue::Impl {
  struct Pending {
    Tensor to, from;
  };
  // What is waited for is made; `made` of all that was ever queued.
  void make(std::size_t until) {
    for (; made < until; ++made) {
      const Pending& next = pending[made - first];
      rlcpp::copy(next.to, next.from);
    }
    if (made == first + pending.size()) {
      first = made;
      pending.clear();  // keeps its memory
    }
  }
  std::size_t queued() const { return first + pending.size(); }

  std::vector<Pending> pending;
  std::size_t first = 0, made = 0;  // numbers of the first pending copy and of the next to be made
  std::vector<std::size_t> marks;   // how many copies were queued at each
  std::unique_ptr<cuda::CopyStream, cuda::CopyStreamDeleter> stream;
};

CopyQueue::CopyQueue(const Context& ctx, std::size_t marks) : impl_(std::make_unique<Impl>()) {
  impl_->marks.assign(marks, 0);
  if (ctx.on_gpu()) {
    impl_->stream = cuda::make_copy_stream(ctx, marks);
  } else {
    impl_->pending.reserve(64);
  }
}

CopyQueue::~CopyQueue() {
  if (impl_ != nullptr && impl_->stream == nullptr) impl_->make(impl_->queued());
}
CopyQueue::CopyQueue(CopyQueue&&) noexcept = default;

void CopyQueue::follow_operations() {
  // On the CPU an operation is done when its call returns.
  if (impl_->stream != nullptr) cuda::follow_operations(*impl_->stream);
}

void CopyQueue::follow(const CopyQueue& other, std::size_t mark) {
  RLCPP_CHECK((impl_->stream == nullptr) == (other.impl_->stream == nullptr));
  if (impl_->stream != nullptr) return cuda::follow(*impl_->stream, *other.impl_->stream, mark);
  // At once: before the copies that come after this call, which is all that is promised.
  other.impl_->make(other.impl_->marks.at(mark));
}

void CopyQueue::copy(const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(to.dtype() == from.dtype() && to.size() == from.size());
  if (to.size() == 0) return;
  if (impl_->stream != nullptr) return cuda::copy(*impl_->stream, to, from);
  impl_->pending.push_back({to, from});
}

void CopyQueue::mark(std::size_t mark) {
  if (impl_->stream != nullptr) return cuda::mark(*impl_->stream, mark);
  impl_->marks.at(mark) = impl_->queued();
}

void CopyQueue::hold_operations(std::size_t mark) const {
  if (impl_->stream != nullptr) return cuda::hold_operations(*impl_->stream, mark);
  impl_->make(impl_->marks.at(mark));
}

void CopyQueue::synchronize() const {
  if (impl_->stream != nullptr) return cuda::synchronize(*impl_->stream);
  impl_->make(impl_->queued());
}

void delay_for_tests(const Context& ctx, double copy_microseconds, double operation_microseconds) {
  if (ctx.on_gpu()) cuda::delay_for_tests(ctx, copy_microseconds, operation_microseconds);
}

}  // namespace rlcpp::ops
