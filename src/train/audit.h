// The audit of a run in mode exact: some rollouts of a step are computed once more in other company, and
// their log-probabilities are compared bit for bit, with those that the engine sampled them with and with
// those that the trainer gives them in their own rows. What tests prove on a tiny model, a run so proves on
// its own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/config/schema.h"
#include "data/batch.h"

namespace rlcpp::train {

struct AuditConfig {
  std::int64_t interval = 100;  // steps
  std::int64_t rollouts = 16;   // of a step
  void describe(config::Schema& s);
  bool due(std::int64_t step) const { return step % interval == 0; }
};

struct AuditRequest {
  std::int64_t rollouts = 16;   // at most; fewer if the step has no more
  std::int64_t max_tokens = 0;  // of a row
  std::uint64_t seed = 0;       // which rollouts, in which company
  // The weights of now are those that every token was sampled with: the engine's values are compared too.
  bool sampled_now = true;
};

// A token whose values are not all of the same bits.
struct AuditDifference {
  std::int64_t document = 0, token = 0;  // place in the step's documents, and in that document
  bool sampled = false;                  // `engine` is one of the values compared
  float engine = 0, own_row = 0, other_row = 0;
};

struct AuditResult {
  std::int64_t rollouts = 0, tokens = 0;  // compared
  std::int64_t differ = 0;                // tokens
  std::optional<AuditDifference> first;
};

// Of each row, Trainer::logprobs(). Changes nothing that a step reads.
using RowLogprobs = std::function<std::vector<std::vector<float>>(const std::vector<data::MicroBatch>&)>;

// The rows that an audit computes: `documents` of `rows` in an order and in rows of their own, each behind
// the beginning of some other document where there is room. Made known for the tests.
struct AuditRows {
  struct Place {
    std::int64_t document = 0;  // of the step
    std::size_t row = 0;        // of `rows` below
    std::int64_t first = 0;     // token of that row
    std::int64_t tokens = 0;
  };
  std::vector<data::MicroBatch> rows;
  std::vector<Place> places;
};
AuditRows repack(const std::vector<data::MicroBatch>& rows, const std::vector<std::int64_t>& documents,
                 std::int64_t max_tokens, std::uint64_t seed);

// Every token of the chosen rollouts that has one before it is compared in the two rows, and those that were
// sampled with the engine's value as well. `rows`: of a step, none longer than max_tokens.
AuditResult audit(const std::vector<data::MicroBatch>& rows, const AuditRequest& request,
                  const RowLogprobs& logprobs);

}  // namespace rlcpp::train
