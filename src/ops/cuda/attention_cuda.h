// Which kernels compute attention over packed documents, and their scratch.
//
// Forward: cuDNN, either over documents of one length (rows of qkv as they are) or ragged, with offsets
// computed on the device from cu_seqlens. Backward: on Hopper our own kernels for any documents
// (attention_hopper.h); elsewhere cuDNN's deterministic algorithm for documents of one length. It keeps a
// [heads, tokens, tokens] matrix of bf16 a document, so it runs over as many documents and heads at a time as
// the scratch allows. For ragged documents that matrix would have a place for every token (cuDNN
// before 9.25), so there, and wherever cuDNN is absent or refuses, our own kernels run (attention_simple.h).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ops/attention.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/cuda/runtime_cuda.h"
#include "ops/workspace.h"

namespace rlcpp::ops::cuda {

// The documents of one call. The choice of kernels depends on these values (and on how much scratch was
// planned) alone, so forward and backward of a row choose alike and a run repeats.
struct AttentionCall {
  std::int64_t rows = 0;
  std::int64_t documents = 0;
  std::int64_t longest = 0;
  QkvShape shape;
  float scale = 1;

  // All documents have the same length, a multiple of cuDNN's tile (others would need a graph of their own
  // for each length that a run meets).
  bool uniform() const { return documents > 0 && documents * longest == rows && longest % 128 == 0; }
};

class AttentionPlans {
 public:
  explicit AttentionPlans(Runtime& runtime);
  ~AttentionPlans();
  AttentionPlans(const AttentionPlans&) = delete;
  AttentionPlans& operator=(const AttentionPlans&) = delete;

  void use(AttentionKernels kernels) { kernels_ = kernels; }
  // True if backwards of this shape run on our kernels for Hopper (attention_hopper.h).
  bool hopper(const QkvShape& shape) const;
  // Why cuDNN is not used, or what it said when it last refused a shape. Empty: nothing was refused.
  const std::string& refusal() const { return why_; }

  // The graph, its shape and how the call is cut for it. graph is null if our own kernels have to do it.
  // Building a graph is host work of 100 ms, done for the first call of its kind: ragged graphs serve all
  // calls with as many documents and as long ones up to the next power of two.
  struct Choice {
    CudnnAttentionGraph* graph = nullptr;
    CudnnAttentionShape shape;
  };
  Choice forward(const AttentionCall& call);
  Choice backward(const AttentionCall& call);
  // A backward whose bits may differ from run to run, of all documents and heads at once; null unless runs
  // are allowed to and the call is of documents of one length.
  Choice unordered_backward(const AttentionCall& call);

  // The scratch that calls of up to these sizes take; the choices keep to it from then on.
  std::size_t plan_scratch(const WorkspaceNeeds& needs);

 private:
  CudnnAttentionGraph* graph(const CudnnAttentionShape& shape);
  bool supported(const AttentionCall& call);

  Runtime& runtime_;
  AttentionKernels kernels_ = AttentionKernels::kFastest;
  bool opened_ = false;
  std::string why_;
  std::size_t budget_;
  std::unique_ptr<CudnnAttention> cudnn_;
  // A shape that cuDNN refused is null. Destroyed before the library's handle.
  std::map<CudnnAttentionShape, std::unique_ptr<CudnnAttentionGraph>> graphs_;
};

// Bytes of scratch that attention takes for calls of up to these sizes.
std::size_t attention_scratch(Runtime& runtime, const WorkspaceNeeds& needs);

// True if this GPU and this build have our backward for Hopper (attention_hopper.h), for heads of 64 or 128.
bool hopper_backward_has(const QkvShape& shape);
// Bytes of scratch that it takes for up to `rows` tokens.
std::size_t hopper_backward_scratch(std::int64_t rows, std::int64_t num_heads);

// Offsets of ragged documents for cuDNN, all i32 on the device.
struct RaggedOffsets {
  std::int32_t* lengths = nullptr;  // [slots]
  std::int32_t* qkv = nullptr;      // [slots + 1], in elements
  std::int32_t* out = nullptr;
  std::int32_t* stats = nullptr;
};
RaggedOffsets take_offsets(ScratchLayout& layout, std::int64_t slots);
// Fills them from cu_seqlens [documents + 1]; documents beyond are empty, behind the last row.
void write_offsets(cudaStream_t stream, const RaggedOffsets& offsets, std::int64_t slots,
                   const std::int32_t* cu_seqlens, const AttentionCall& call);

}  // namespace rlcpp::ops::cuda
