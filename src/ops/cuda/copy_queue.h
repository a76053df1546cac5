// CUDA form of ops/copy_queue.h: a stream beside the context's, and an event a mark.
#pragma once

#include <cstddef>
#include <memory>

#include "ops/context.h"

namespace rlcpp::ops::cuda {

class CopyStream;
struct CopyStreamDeleter {
  void operator()(CopyStream* stream) const;
};

std::unique_ptr<CopyStream, CopyStreamDeleter> make_copy_stream(const Context& ctx, std::size_t marks);
void follow_operations(CopyStream& stream);
void follow(CopyStream& stream, const CopyStream& other, std::size_t mark);
void copy(CopyStream& stream, const Tensor& to, const Tensor& from);
void mark(CopyStream& stream, std::size_t mark);
void hold_operations(const CopyStream& stream, std::size_t mark);
void synchronize(const CopyStream& stream);
void delay_for_tests(const Context& ctx, double copy_microseconds, double operation_microseconds);

}  // namespace rlcpp::ops::cuda
