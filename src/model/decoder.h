// Forward and backward of the decoder, written by hand: a layer's backward is a readable function beside its
// forward. The head is not here (ops/head.h): the decoder ends with the final norm.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/adapters.h"
#include "model/weights.h"
#include "ops/attention.h"

namespace rlcpp::model {

// Cos and sin of every position up to max_position of the run [P, head_dim / 2] f32, with the model's rope
// scaling.
struct RopeTables {
  Tensor cos, sin;
};
struct RopeRegions {
  RegionId cos, sin;
};
RopeRegions plan_rope(const ModelConfig& config, MemoryPlan& plan, std::int64_t positions);
RopeTables make_rope(const ModelConfig& config, const Arena& arena, const RopeRegions& regions);

// One packed row of M tokens: D documents one after the other.
struct PackedBatch {
  Tensor ids;        // [M] i32
  Tensor positions;  // [M] i32, from 0 in each document
  ops::Documents documents;
};

// Which activations are kept between forward and backward.
enum class Recompute : std::uint8_t {
  kNone,              // everything the backward reads
  kSelective,         // norms and SwiGLU are computed again
  kAttention,         // block inputs and what attention gives are kept
  kFull,              // only block inputs are kept
  kOffload,           // only block inputs are kept, in the host's memory (model/offload.h)
  kOffloadAttention,  // as kAttention, in the host's memory but for statistics
};
// Whether attention is computed once, and whether block inputs leave the device.
constexpr bool keeps_attention(Recompute policy) {
  return policy == Recompute::kAttention || policy == Recompute::kOffloadAttention;
}
constexpr bool offloads(Recompute policy) {
  return policy == Recompute::kOffload || policy == Recompute::kOffloadAttention;
}

// How the policies that offload lie in memory.
struct OffloadOptions {
  // Block inputs (and outputs of attention) on the device at once, at least 2: those in use, and on their
  // way.
  std::int64_t inflight = 5;
  bool apart = false;  // the device has memory of its own, and the plan counts the host's apart from it
};

class Offloaded;

// Memory of products in FP8 (model/fp8.h); empty: there are none.
struct Fp8Memory {
  // Codes of the product under way: of its input, as it lies or transposed, of the gradient of its output,
  // both ways, and of its weight.
  Tensor input, gradient, gradient_t, weight;
  Tensor largest, scale;  // f32, of every operand of every product of every layer
};
struct Fp8Regions {
  RegionId input, gradient, gradient_t, weight, largest, scale;
};

// Memory of the activations for up to `max_tokens` tokens, in ops::Context::compute_type(); statistics are
// f32. A forward fills it, one backward consumes it.
class Activations {
 public:
  struct Regions;
  static Regions plan(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens,
                      Recompute recompute, DType type = DType::kF32, OffloadOptions offload = {},
                      bool fp8 = false);
  Activations(const ops::Context& ctx, const ModelConfig& config, const Arena& arena, const Regions& regions);

  struct Layer {
    Tensor input;         // [M, H] residual stream before the block (full: the only one kept)
    Tensor norm1, rstd1;  // [M, H], [M]
    // [M, width] before and after norm and rope; one memory when the model has no QK-norm.
    Tensor qkv_raw, qkv;
    Tensor qk_rstd;          // [M, heads of q and k]; empty without QK-norm
    Tensor attn, lse;        // [M, num_heads * head_dim], [M, num_heads]
    Tensor mid;              // [M, H] residual stream after attention
    Tensor norm2, rstd2;     // [M, H], [M]
    Tensor gate_up, swiglu;  // [M, 2 I], [M, I]
    // A x of adapted products, [M, targets * r]; empty where there is no adapter.
    Tensor lora_qkv, lora_out, lora_gate_up, lora_down;

    Layer rows(std::int64_t count) const;  // the views of the first `count` tokens
  };
  struct Regions {
    std::vector<std::vector<RegionId>> layers;  // in the order of Layer's fields
    std::vector<RegionId> shared;
    RegionId dhidden;  // [M, H] for the head's gradient, which backward() consumes
    std::vector<RegionId> host_inputs,
        host_attention;  // offload: of the blocks whose tensors leave the device
    Fp8Regions fp8;
    std::int64_t max_tokens = 0;
    Recompute recompute = Recompute::kNone;
  };

  std::vector<Layer> layers;  // with recompute, fields of different layers share memory
  Tensor last;                // [M, H] residual stream after the last block
  Tensor final_rstd;          // [M]
  Tensor hidden;              // [M, H] after the final norm: input of the head
  // Temporaries of the backward: gradients of the residual stream [M, H], of attention's output and of qkv
  // (empty where they take the place of a layer's swiglu and gate_up); delta [M, heads].
  Tensor scratch_hidden, scratch_attn, scratch_qkv, delta;
  // Of adapters: the gradient of A x [M, targets * r], and an input or its gradient with dropout.
  Tensor scratch_lora, dropped;
  // What is dropped of the inputs of adapters; the trainer sets it before each forward, and the backward that
  // follows draws the same. Its stream is of the step's micro-batch; products draw by their place.
  ops::Dropout dropout;
  Fp8Memory fp8;
  std::int64_t max_tokens = 0;
  Recompute recompute = Recompute::kNone;
  std::shared_ptr<Offloaded> inputs,
      attention;  // offload: the way of block inputs and of `attn` to the host and back
};

// Told when the weights and gradients of a block come into use and leave it, so that blocks can share memory
// and ranks can talk meanwhile (train/shards.h). "Before" comes before the first operation that touches them
// is given to the device, "after" when the last one was.
class BlockObserver {
 public:
  enum class Pass : std::uint8_t { kForward, kBackward };
  virtual ~BlockObserver() = default;
  // In the forward a block ends with the norm of the next one, whose before_weights() comes before that.
  virtual void before_weights(std::size_t layer, Pass pass) = 0;
  virtual void before_gradients(std::size_t layer) = 0;
  virtual void after_gradients(std::size_t layer) = 0;
  // Head, final norm and embedding have their gradients, and so has everything else.
  virtual void after_backward() = 0;
};

// Runs the packed batch; returns the view [M, H] of activations.hidden. The bits do not depend on
// `recompute`.
Tensor forward(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
               const WeightSet& packed, const RopeTables& rope, const PackedBatch& batch,
               Activations& activations, BlockObserver* observer = nullptr);

// dhidden [M, H] is consumed, and so are the activations. gradients accumulate (+=); empty tensors in
// `gradients` are frozen parameters: their weight gradients are not computed, and nothing below the lowest
// trained parameter is.
void backward(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
              const WeightSet& packed, const RopeTables& rope, const PackedBatch& batch,
              Activations& activations, const Tensor& dhidden, const WeightSet& gradients,
              BlockObserver* observer = nullptr);

// Neighbouring rows of a batch that read the same adapters.
struct AdapterRows {
  const std::vector<LayerAdapters>* adapters = nullptr;  // one a layer; null: those of the weights, if any
  std::int64_t first = 0, count = 0;
};

// Rows of whole documents from their first token on, one after another from row `first`: their attention
// reads the rows themselves, and PagedBatch::work leaves them out.
struct WholeDocuments {
  std::int64_t first = 0, rows = 0;  // rows 0: there are none
  ops::Documents documents;          // some may be empty
};

// The engine's forward: T tokens of any sequences, prefill and decode together (see ops::attention_paged).
struct PagedBatch {
  Tensor ids;                             // [T] i32
  Tensor positions;                       // [T] i32
  Tensor slots;                           // [T] i32: where k and v of each token go
  Tensor sequence_of;                     // [T] i32
  Tensor block_tables;                    // [S, max_pages] i32
  ops::PagedWork work;                    // may be empty
  WholeDocuments whole;                   // not in mode exact
  std::span<const AdapterRows> adapters;  // all T rows in order, or empty: all read those of the weights
  // Every row is of another sequence, or its slot is one that nobody reads: few rows have kernels of their
  // own then (ops/few_rows.h).
  bool decodes = false;
};

// Temporaries for up to max_tokens tokens of paged forward: `branch` is what a sub-layer adds to `residual`.
struct PagedScratch {
  Tensor residual, norm, rstd, qkv, qk_rstd, attn, branch, gate_up, swiglu, lora;
  Tensor lse;  // of whole documents; empty on the CPU
};
struct PagedScratchRegions {
  std::vector<RegionId> regions;
};
// adapter_columns: of A x at most, if batches name adapters beside those of the weights.
PagedScratchRegions plan_paged_scratch(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens,
                                       DType type = DType::kF32, std::int64_t adapter_columns = 0);
PagedScratch make_paged_scratch(const ModelConfig& config, const Arena& arena,
                                const PagedScratchRegions& regions);

// Returns the view [T, H] of the final-normed hidden states. Bit-equal to forward() on the same documents, in
// mode exact whatever adapters the other rows read.
Tensor forward_paged(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
                     const WeightSet& packed, const RopeTables& rope, const PagedBatch& batch,
                     const std::vector<ops::KvPages>& cache, PagedScratch& scratch);

}  // namespace rlcpp::model
