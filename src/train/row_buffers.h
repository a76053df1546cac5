// What a micro-batch becomes on the device: inputs of the decoder, and the head's targets. The packer's
// streams are indexed by the token itself; the head's rows by the token before it: row t predicts token t + 1
// of the same document.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "data/batch.h"
#include "model/decoder.h"
#include "ops/copy_queue.h"
#include "tensor/arena.h"
#include "tensor/staging.h"

namespace rlcpp::train {

struct RowRegions {
  RegionId ids, positions, cu_seqlens, targets, temperatures, logprobs, entropies, coefficients, dhidden;
};

// `dhidden`: where the head's gradient goes (model::Activations::Regions); none where there is no backward.
RowRegions plan_rows(MemoryPlan& plan, std::int64_t max_tokens, RegionId dhidden = {});

enum class Targets : std::uint8_t {
  kTrained,  // only rows whose next token has mask 1 or a ce_weight: what a loss needs
  kAll,      // every row that has a next token in its document
};

// Views of one micro-batch of M tokens into the planned memory.
struct Row {
  model::PackedBatch packed;
  Tensor targets, temperatures, logprobs, entropies, coefficients;  // [M]
  Tensor dhidden;                                                   // [M, H]; empty without a backward
  std::span<const std::int32_t> host_targets;                       // the values of targets
};

// On a GPU its copies run beside the operations: the host waits for none of them but where it reads a result,
// so it is ahead of the device by up to one row. The host's side is pinned memory of 8 words a token.
class RowBuffers {
 public:
  RowBuffers(const ops::Context& ctx, const Arena& arena, const RowRegions& regions, std::int64_t vocab_size);

  // Checks the batch (lengths, ids inside the vocabulary, document boundaries) and fills inputs, targets and
  // temperatures. What was fetched of the row before is gone.
  Row load(const data::MicroBatch& batch, Targets which);

  // The host's view of coefficients, to be written before send_coefficients() brings them to the device.
  std::span<float> coefficients(const Row& row) { return host_.coefficients.first(size_of(row)); }
  void send_coefficients(const Row& row);
  // Begins to bring what the head wrote to the host: what the operations so far leave in row.logprobs and
  // row.entropies.
  void fetch(const Row& row);
  // What was fetched; valid until the next load. The first call waits for it.
  std::span<const float> logprobs(const Row& row);
  std::span<const float> entropies(const Row& row);

  std::int64_t max_tokens() const { return max_tokens_; }

 private:
  static std::size_t size_of(const Row& row) { return static_cast<std::size_t>(row.targets.size()); }
  // The host's side of each stream; on the CPU the tensors themselves.
  struct Host {
    std::span<std::int32_t> ids, positions, cu_seqlens, targets;
    std::span<float> temperatures, coefficients, logprobs, entropies;
  };
  template <class T>
  void send(const Tensor& to, std::span<T> from);
  template <class T>
  void bring(std::span<T> to, const Tensor& from);
  void hold();

  Row full_;
  cuda::staging::Pinned pinned_;  // null on the CPU
  Host host_;
  ops::CopyQueue queue_;
  std::int64_t max_tokens_;
  std::int64_t vocab_size_;
};

// A stream by head row becomes a stream by token: out[t + 1] = rows[t] inside a document, 0 at its first
// token.
void rows_to_tokens(const data::MicroBatch& batch, std::span<const float> rows, std::span<float> out);
// The reverse: rows[t] = tokens[t + 1], 0 at the last row of a document.
void tokens_to_rows(const data::MicroBatch& batch, std::span<const float> tokens, std::span<float> rows);

}  // namespace rlcpp::train
