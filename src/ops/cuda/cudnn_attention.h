// cuDNN's attention as a few plain calls. cudnn_attention.cpp is the only source that includes NVIDIA's
// cudnn-frontend headers, which take a minute to compile. cuDNN itself is loaded when it is first asked for.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

namespace rlcpp::ops::cuda {

// What one graph is built for; q, k, v and their gradients are views of rows `qkv_row` elements apart, out
// and dout of rows `out_row` elements apart. Causal, bf16, statistics in f32.
struct CudnnAttentionShape {
  std::int64_t documents = 1;  // cuDNN's batch
  std::int64_t longest = 1;    // tokens of every document, or the most that a ragged one may have
  std::int64_t heads = 1, kv_heads = 1, head_dim = 1;  // that this graph computes; the rows may hold more
  std::int64_t qkv_row = 1, out_row = 1;
  // Of any lengths: where documents begin and how long they are is read on the device. Statistics are then
  // [tokens, heads]; otherwise [documents, heads, longest], contiguous.
  bool ragged = false;
  bool backward = false;   // not for ragged documents
  bool unordered = false;  // of backward: the algorithm that adds in any order, else the deterministic one
  float scale = 1;
  auto operator<=>(const CudnnAttentionShape&) const = default;
};

// Addresses on the device. The backward reads out, stats and dout and writes dq, dk, dv.
struct CudnnAttentionData {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;
  float* stats = nullptr;  // natural logarithm of the sum of exp(scale * score)
  const void* dout = nullptr;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
  // Ragged only: i32 [documents], and [documents + 1] in elements of qkv, of out and of stats.
  const std::int32_t* lengths = nullptr;
  const std::int32_t* qkv_offsets = nullptr;
  const std::int32_t* out_offsets = nullptr;
  const std::int32_t* stats_offsets = nullptr;
};

class CudnnAttentionGraph {
 public:
  virtual ~CudnnAttentionGraph() = default;
  virtual std::int64_t workspace_bytes() const = 0;
  // Throws runtime_failure with cuDNN's words. Nothing waits; may be captured into a CUDA graph.
  virtual void run(const CudnnAttentionData& data, void* workspace, cudaStream_t stream) = 0;
};

class CudnnAttention {
 public:
  // Null, with the cause in `why`, if cuDNN cannot be loaded. The current device is the one that it will use.
  static std::unique_ptr<CudnnAttention> open(std::string* why);
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  // Host work of about 100 ms. Null, with cuDNN's words in `why`, if it has nothing for this shape. The graph
  // must not outlive this object.
  std::unique_ptr<CudnnAttentionGraph> build(const CudnnAttentionShape& shape, std::string* why);

 private:
  struct Handle;
  explicit CudnnAttention(std::unique_ptr<Handle> handle);
  std::unique_ptr<Handle> handle_;
};

}  // namespace rlcpp::ops::cuda
