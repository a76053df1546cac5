#include "app/rl_audit.h"

#include <fmt/format.h>

#include "app/run_clock.h"
#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::app {

void require_auditable(const std::optional<train::AuditConfig>& config, ops::NumericMode mode,
                       const std::string& key) {
  if (!config.has_value() || mode == ops::NumericMode::kExact) return;
  throw bad_input(fmt::format("{} asks for equal bits, and this run is in mode fast", key),
                  "which rounds a token's log-probability by the company that it is computed in",
                  fmt::format("set numeric_mode = \"exact\", or remove {}", key));
}

void audit_step(const std::optional<train::AuditConfig>& config, const std::vector<data::MicroBatch>& rows,
                const AuditedStep& step, const train::RowLogprobs& logprobs, monitor::Metrics& metrics) {
  if (!config.has_value() || !config->due(step.step)) return;
  const double begin = monotonic_seconds();
  const std::uint64_t seed =
      mix64(static_cast<std::uint64_t>(step.seed), static_cast<std::uint64_t>(step.step));
  const train::AuditResult result = train::audit(
      rows, {config->rollouts, step.row_tokens, mix64(seed, 0xA0D17), step.sampled_now}, logprobs);
  metrics.set("audit/rollouts", static_cast<double>(result.rollouts));
  metrics.set("audit/tokens", static_cast<double>(result.tokens));
  metrics.set("audit/differ", static_cast<double>(result.differ));
  metrics.set("time/audit", monotonic_seconds() - begin);
  if (!result.first.has_value()) return;
  const train::AuditDifference& first = *result.first;
  std::string values =
      fmt::format("{:.9g} in its own row, {:.9g} in another", first.own_row, first.other_row);
  if (first.sampled) values = fmt::format("sampled with log-probability {:.9g}, ", first.engine) + values;
  throw Error(ExitCode::kCheckFailed,
              fmt::format("the audit of step {} found log-probabilities that differ", step.step),
              fmt::format("{}: {}; {} of {} tokens differ", step.place(first.document, first.token), values,
                          result.differ, result.tokens),
              "exact mode promises equal bits, so this is an error of rlcpp or of the machine: run it again, "
              "and report it with the model's config.json if it comes back");
}

}  // namespace rlcpp::app
