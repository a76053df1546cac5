// What a micro-batch becomes on the device: inputs of the decoder, and the head's targets. The packer's
// streams are indexed by the token itself; the head's rows by the token before it: row t predicts token t + 1
// of the same document.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"
#include "model/decoder.h"
#include "tensor/arena.h"

namespace rlcpp::train {

struct RowRegions {
  RegionId ids, positions, cu_seqlens, targets, temperatures, logprobs, entropies, coefficients, dhidden;
};

// `type`: of the gradient that the head hands to the decoder.
RowRegions plan_rows(MemoryPlan& plan, std::int64_t max_tokens, std::int64_t hidden_size, DType type);

enum class Targets : std::uint8_t {
  kTrained,  // only rows whose next token has mask 1: what a loss needs
  kAll,      // every row that has a next token in its document
};

// Views of one micro-batch of M tokens into the planned memory.
struct Row {
  model::PackedBatch packed;
  Tensor targets, temperatures, logprobs, entropies, coefficients;  // [M]
  Tensor dhidden;                                                   // [M, H]
  std::span<const std::int32_t> host_targets;                       // the values of targets
};

class RowBuffers {
 public:
  RowBuffers(const Arena& arena, const RowRegions& regions, std::int64_t vocab_size);

  // Checks the batch (lengths, ids inside the vocabulary, document boundaries) and fills inputs, targets and
  // temperatures.
  Row load(const data::MicroBatch& batch, Targets which);

  // The host's view of coefficients, to be written before send_coefficients() brings them to the device.
  std::span<float> coefficients(const Row& row);
  void send_coefficients(const Row& row);
  // What the head wrote, on the host; valid until the next load.
  std::span<const float> logprobs(const Row& row);
  std::span<const float> entropies(const Row& row);

  std::int64_t max_tokens() const { return max_tokens_; }

 private:
  // Host memory of one stream; on the CPU the tensor itself.
  template <class T>
  std::span<T> host(const Tensor& tensor, std::vector<T>& copy);

  Row full_;
  std::vector<std::int32_t> targets_;
  std::vector<float> temperatures_, coefficients_, logprobs_, entropies_;
  std::int64_t max_tokens_;
  std::int64_t vocab_size_;
};

// A stream by head row becomes a stream by token: out[t + 1] = rows[t] inside a document, 0 at its first
// token.
void rows_to_tokens(const data::MicroBatch& batch, std::span<const float> rows, std::span<float> out);
// The reverse: rows[t] = tokens[t + 1], 0 at the last row of a document.
void tokens_to_rows(const data::MicroBatch& batch, std::span<const float> tokens, std::span<float> rows);

}  // namespace rlcpp::train
