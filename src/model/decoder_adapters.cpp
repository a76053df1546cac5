// What adapters add to a block: y += B (A x) beside each product, and its gradients. With dropout A reads a
// masked copy of x, made again where the backward needs it. A product's targets (q, k and v) read one masked
// input, as they read one input without it.
#include "base/rng.h"
#include "model/decoder_block.h"
#include "model/fp8.h"
#include "ops/adapter.h"
#include "ops/matmul.h"

namespace rlcpp::model {

std::uint64_t index_of(AdapterPlace place) {
  if (place == &LayerAdapters::qkv) return 0;
  if (place == &LayerAdapters::out) return 1;
  return place == &LayerAdapters::gate_up ? 2 : 3;
}

namespace {

// The adapter of `place`; null if there is none.
const AdapterPair* pair_of(const BlockContext& block, AdapterPlace place) {
  if (block.adapters == nullptr) return nullptr;
  const AdapterPair& pair = block.adapters->*place;
  return pair.a.empty() ? nullptr : &pair;
}

// Each product of each layer draws from a stream of its own.
ops::Dropout dropout_of(const BlockContext& block, AdapterPlace place) {
  ops::Dropout own = block.dropout;
  own.stream = mix64(own.stream, 4 * block.layer + index_of(place));
  return own;
}

// What A reads of x.
Tensor input_of(const BlockContext& block, AdapterPlace place, const Tensor& x) {
  if (block.dropout.probability == 0) return x;
  const Tensor dropped = columns(block.dropped, x.dim(0), x.dim(1));
  ops::dropout_forward(block.ctx, dropped, x, dropout_of(block, place));
  return dropped;
}

}  // namespace

BlockContext block_of(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
                      const WeightSet& packed, const RopeTables& rope, std::size_t layer,
                      const Activations* activations) {
  BlockContext block{ctx, config, weights.layers[layer], packed.layers[layer], rope};
  if (!weights.adapters.empty()) block.adapters = &weights.adapters[layer];
  if (activations != nullptr) {
    block.dropout = activations->dropout;
    block.dropped = activations->dropped;
    if (!activations->fp8.input.empty()) block.fp8 = &activations->fp8;
    block.attention_kept = keeps_attention(activations->recompute);
    block.attention = activations->attention.get();
  }
  RLCPP_CHECK(block.dropout.probability == 0 || block.adapters == nullptr || !block.dropped.empty());
  block.layer = layer;
  return block;
}

Tensor adapter_hidden(const BlockContext& block, AdapterPlace place, const Tensor& x, const Tensor& h) {
  const AdapterPair* pair = pair_of(block, place);
  if (pair == nullptr) return {};
  ops::linear_forward(block.ctx, h, input_of(block, place, x), pair->a, {}, {});
  return pair->b;
}

void adapted_linear(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& packed, const Tensor& bias, const Tensor& h) {
  const Tensor b = adapter_hidden(block, place, x, h);
  if (block.fp8 != nullptr) {
    fp8_forward(block, place, y, x, w, bias);
    if (!b.empty()) ops::linear_forward(block.ctx, y, h, b, {}, {}, true);
    return;
  }
  if (b.empty()) return ops::linear_forward(block.ctx, y, x, w, packed, bias);
  ops::adapted_forward(block.ctx, y, x, w, packed, bias, h, b);
}

void mixed_linear(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                  const Tensor& w, const Tensor& packed, const Tensor& bias, const Tensor& memory,
                  std::span<const AdapterRows> rows) {
  const ops::Context& ctx = block.ctx;
  // On a GPU the product and its adapter may be one sum, which is rounded once: mode exact wants that of the
  // trainer for every row, fast reads w once for all of them.
  const bool together = rows.size() > 1 && !(ctx.on_gpu() && ctx.mode == ops::NumericMode::kExact);
  if (together) ops::linear_forward(ctx, y, x, w, packed, bias);
  const auto part = [&](const AdapterRows& of) {
    BlockContext own = block;
    if (of.adapters != nullptr) own.adapters = &(*of.adapters)[block.layer];
    const AdapterPair* pair = pair_of(own, place);
    const Tensor h = pair == nullptr ? Tensor() : columns(memory, of.count, pair->a.dim(0));
    const Tensor y_rows = y.rows(of.first, of.count), x_rows = x.rows(of.first, of.count);
    if (!together) return adapted_linear(own, place, y_rows, x_rows, w, packed, bias, h);
    if (pair == nullptr) return;
    ops::linear_forward(ctx, h, x_rows, pair->a, {}, {});
    ops::linear_forward(ctx, y_rows, h, pair->b, {}, {}, true);
  };
  if (rows.empty()) return part({nullptr, 0, x.dim(0)});
  std::int64_t end = 0;
  for (const AdapterRows& of : rows) {
    RLCPP_CHECK(of.first == end);
    part(of);
    end += of.count;
  }
  RLCPP_CHECK(end == x.dim(0));
}

void product_gradients(const BlockContext& block, AdapterPlace place, const Tensor& dw, const Tensor& db,
                       const Tensor& dy, const Tensor& x) {
  if (block.fp8 != nullptr) {
    fp8_backward_weight(block, place, dw, dy, x);
  } else if (!dw.empty()) {
    ops::linear_backward_weight(block.ctx, dw, dy, x, true);
  }
  if (!db.empty()) ops::linear_backward_bias(block.ctx, db, dy, true);
}

void adapter_gradients(const BlockContext& block, AdapterPlace place, const AdapterPair& g, const Tensor& dh,
                       const Tensor& dy, const Tensor& x, const Tensor& h) {
  const AdapterPair* pair = pair_of(block, place);
  if (pair == nullptr) return;
  const Tensor own = columns(dh, dy.dim(0), h.dim(1));
  ops::linear_backward_input(block.ctx, own, dy, pair->b, false);
  if (!g.b.empty()) ops::linear_backward_weight(block.ctx, g.b, dy, h, true);
  if (!g.a.empty()) ops::linear_backward_weight(block.ctx, g.a, own, input_of(block, place, x), true);
}

void adapted_backward_input(const BlockContext& block, AdapterPlace place, const Tensor& dx, const Tensor& dy,
                            const Tensor& w, const Tensor& dh) {
  const AdapterPair* pair = pair_of(block, place);
  const auto base = [&] {
    if (block.fp8 != nullptr) return fp8_backward_input(block, place, dx, dy, w);
    ops::linear_backward_input(block.ctx, dx, dy, w, false);
  };
  if (pair == nullptr) return base();
  const Tensor own = columns(dh, dx.dim(0), pair->a.dim(0));
  if (block.dropout.probability == 0) {
    if (block.fp8 == nullptr) return ops::adapted_backward_input(block.ctx, dx, dy, w, own, pair->a);
    base();
    return ops::linear_backward_input(block.ctx, dx, own, pair->a, true);
  }
  base();
  const Tensor through = columns(block.dropped, dx.dim(0), dx.dim(1));
  ops::linear_backward_input(block.ctx, through, own, pair->a, false);
  ops::dropout_backward(block.ctx, dx, through, dropout_of(block, place));
}

}  // namespace rlcpp::model
