// The audit of `rlcpp rl` and `rlcpp trainer` (train/audit.h): when it is made, what it logs, how it ends a
// run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "monitor/metrics.h"
#include "ops/context.h"
#include "train/audit.h"

namespace rlcpp::app {

// Throws bad_input if there is an audit and the run is not in mode exact. `key`: of the section.
void require_auditable(const std::optional<train::AuditConfig>& config, ops::NumericMode mode,
                       const std::string& key);

struct AuditedStep {
  std::int64_t step = 0;  // counted from 1; the weights are those before it
  std::int64_t row_tokens = 0, seed = 0;
  bool sampled_now = true;  // see train::AuditRequest
  // "rollout 12 (group 3, sample 0), completion token 4 (id 17)".
  std::function<std::string(std::int64_t document, std::int64_t token)> place;
};

// Nothing unless the step is due. Sets audit/rollouts, audit/tokens, audit/differ and time/audit. Throws an
// error with ExitCode::kCheckFailed that names step, rollout, token and the values if two of them differ.
void audit_step(const std::optional<train::AuditConfig>& config, const std::vector<data::MicroBatch>& rows,
                const AuditedStep& step, const train::RowLogprobs& logprobs, monitor::Metrics& metrics);

}  // namespace rlcpp::app
