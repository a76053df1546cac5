// The inside of Runtime, for the files of this folder.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <memory>

#include "ops/context.h"
#include "ops/cuda/runtime.h"

namespace rlcpp::ops::cuda {

class AttentionPlans;  // attention.cpp: cuDNN's handle and its built graphs
class ProductPlans;    // matmul.cpp: cuBLASLt's handle and the algorithm of each shape

// The workspace that every product may use. 32 MiB is what cuBLAS itself takes on Hopper.
constexpr std::size_t kProductWorkspace = std::size_t{32} << 20;

class Runtime {
 public:
  explicit Runtime(Device device);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Device device() const { return device_; }
  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  AttentionPlans& attention() { return *attention_; }
  ProductPlans& products() { return *products_; }

  // `bytes` of scratch, 256-byte aligned, valid until the next operation. Throws runtime_failure if the plan
  // gave less. Operations run one after the other on one stream, so they all share it.
  void* scratch(std::size_t bytes, const char* operation);
  void use(const Tensor& memory) { workspace_ = memory; }

  // Of ops/copy_queue.h, in microseconds; zero but in tests.
  struct Delays {
    double copy = 0, operation = 0;
  };
  Delays& delays() { return delays_; }

 private:
  Device device_;
  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  Tensor workspace_;
  Delays delays_;
  std::unique_ptr<AttentionPlans> attention_;
  std::unique_ptr<ProductPlans> products_;
};

inline cudaStream_t stream_of(const Context& ctx) {
  return ctx.cuda->stream();
}

// Cuts one scratch allocation into parts: the same calls count bytes (base null) and hand out places.
class ScratchLayout {
 public:
  explicit ScratchLayout(void* base = nullptr) : base_(static_cast<std::byte*>(base)) {}
  template <class T>
  T* take(std::size_t count) {
    T* place = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return place;
  }
  std::size_t bytes() const { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

// After a kernel launch: its configuration was accepted. Errors inside the kernel show at the next wait.
inline void check_launch(const char* kernel) {
  rlcpp::cuda::check(cudaGetLastError(), kernel);
}

}  // namespace rlcpp::ops::cuda
