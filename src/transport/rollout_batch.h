// A step's packed rollouts as bytes: what travels from the process that samples to the one that trains,
// whatever carries it. One file or message a rank:
//   offset    bytes
//   0         8      "RLCPPROL"
//   8         4      version of the format: 1, or 2 if a row has ce_weights
//   12        4      length H of the header
//   16        8      length of all
//   24        H      header, a JSON object: step, rank, versions, counts, and which streams each row has
//   24 + H           the rows, one after the other, each stream an array without padding:
//                      ids i32[T], mask u8[T], cu_seqlens i32[D + 1], sample_index i64[D],
//                      with rl: inference_logprobs f32[T], advantages f32[T],
//                      with teacher: teacher_logprobs f32[T], with temperatures: temperatures f32[T],
//                      with ce_weights: ce_weights f32[T]
//   end - 4   4      CRC32C of all before
// Numbers are little endian. Positions are not stored: they count from 0 in each document.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/batch.h"

namespace rlcpp::transport {

struct RolloutBatch {
  std::string run;                   // of the trainer whose weights it was sampled from
  std::int64_t step = 0;             // the trainer's step that it is for, counted from 1
  std::int64_t rank = 0, ranks = 1;  // of the trainer: which share of the step this is
  // Of the policies that its tokens were sampled from: the number of updates they had seen.
  std::int64_t oldest_version = 0, newest_version = 0;
  // Fingerprint of the published weights of newest_version (see weights.h): they, and no others of that
  // number.
  std::uint32_t policy = 0;
  // How its log-probabilities were computed, "exact on cpu"; empty: by an older rlcpp.
  std::string arithmetic;
  std::int64_t tokens = 0, samples = 0;  // of the whole step, untrained rollouts too: for progress
  std::vector<data::MicroBatch> micro_batches;
};

std::string encode(const RolloutBatch& batch);

// The inverse. `source` names the bytes in errors: bad_input says what is wrong and at which offset. Nothing
// is believed before the checksum; a row that is no row (document ends, mask) is refused after it.
RolloutBatch decode(std::string_view bytes, const std::string& source);

}  // namespace rlcpp::transport
