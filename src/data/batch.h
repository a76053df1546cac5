// From the packer on, SFT and RL are one road: a micro-batch is one packed row, and the trainer cannot tell
// where it came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::data {

// One document: a tokenised SFT sample, or a rollout with its streams. Index t of every stream is about token
// t itself (its probability given tokens < t), never about the next one.
struct Sample {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> mask;  // 1: token t is trained (never t = 0: it has no prediction)
  // RL only; empty for SFT. Of the same length as ids, zero where mask is 0.
  std::vector<float> inference_logprobs;
  std::vector<float> advantages;
  std::vector<float> teacher_logprobs;  // empty: none
  // Empty: none. Above 0, where mask is 0: the token is trained as text, by cross-entropy of this weight.
  std::vector<float> ce_weights;
  float temperature = 1.0F;
  std::int64_t index = -1;  // where it came from: row of the data set, or rollout id
};

// One packed row of at most seq_len tokens: documents one after the other, lengths explicit, nothing padded
// in between.
struct MicroBatch {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> positions;
  std::vector<std::int32_t> cu_seqlens;  // D + 1 entries
  std::vector<std::uint8_t> mask;
  std::vector<float> inference_logprobs;  // RL: as in Sample; SFT: empty
  std::vector<float> advantages;
  std::vector<float> teacher_logprobs;
  std::vector<float> ce_weights;
  std::vector<float> temperatures;         // one a token; empty: 1
  std::vector<std::int64_t> sample_index;  // one a document
  bool rl = false;

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t documents() const {
    return cu_seqlens.empty() ? 0 : static_cast<std::int64_t>(cu_seqlens.size()) - 1;
  }
  std::int64_t loss_tokens() const;
  std::int64_t ce_tokens() const;     // with a weight in ce_weights
  void append(const Sample& sample);  // adds a document at the end
  void shrink_to_fit();               // no document will follow
};

}  // namespace rlcpp::data
