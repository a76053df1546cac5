// cuDNN's attention as a few plain calls. cudnn_attention.cpp is the only source that includes NVIDIA's
// cudnn-frontend headers, which take a minute to compile; cuDNN itself is loaded at run time.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>

namespace gpu_facts {

// Rows of packed QKV: token t holds (q_heads + 2 kv_heads) * 128 values, queries first, then keys, then
// values. Gradients have the same layout; O and dO hold q_heads * 128 values a token.
struct AttentionShape {
  std::int64_t documents = 1;  // batch of cuDNN: rows, or documents of packed rows
  std::int64_t q_heads = 16;
  std::int64_t kv_heads = 8;
  std::int64_t longest = 8192;  // the sequence length, or the most a document may have
  std::int64_t tokens = 8192;   // all tokens together
  bool ragged = false;          // variable length by ragged offsets
  static constexpr std::int64_t head_dim = 128;
  std::int64_t row() const { return (q_heads + 2 * kv_heads) * head_dim; }
};

struct AttentionPointers {
  void* qkv = nullptr;
  void* o = nullptr;
  void* stats = nullptr;  // f32 log-sum-exp
  void* d_o = nullptr;
  void* d_qkv = nullptr;
  void* lengths = nullptr;      // int32 [documents], ragged only
  void* qkv_offsets = nullptr;  // int32 [documents + 1], in elements
  void* o_offsets = nullptr;
  void* stats_offsets = nullptr;
};

enum class AttentionPass { forward, backward, backward_deterministic };

class AttentionPlan {
 public:
  virtual ~AttentionPlan() = default;
  virtual std::int64_t workspace_bytes() const = 0;
  virtual std::string name() const = 0;
  virtual void run(const AttentionPointers& pointers, void* workspace, cudaStream_t stream) = 0;
};

class CudnnAttention {
 public:
  CudnnAttention();  // Throws std::runtime_error if cuDNN cannot be loaded.
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;
  std::string version() const;
  // Throws with cuDNN's own words if it has no plan for this.
  std::unique_ptr<AttentionPlan> plan(const AttentionShape& shape, AttentionPass pass);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace gpu_facts
