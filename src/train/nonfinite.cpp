#include "train/nonfinite.h"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/durable.h"

namespace rlcpp::train {
namespace {

// JSON has no NaN and no infinity; text keeps them apart.
nlohmann::ordered_json number(double value) {
  if (std::isfinite(value)) return value;
  return fmt::format("{}", value);
}

nlohmann::ordered_json numbers(const std::vector<float>& values) {
  auto out = nlohmann::ordered_json::array();
  for (const float v : values) out.push_back(number(static_cast<double>(v)));
  return out;
}

}  // namespace

Error gave_up(std::int64_t steps, std::int64_t last, double loss, double grad_norm, const std::string& dump) {
  // The sign of a NaN says nothing.
  const auto text = [](double value) { return std::isnan(value) ? "nan" : fmt::format("{}", value); };
  return runtime_failure(
      fmt::format(
          "{} steps in a row had a loss or gradient that is not finite{}; the weights are those of before",
          steps, std::isfinite(loss) && std::isfinite(grad_norm) ? " or above optim.skip_norm" : ""),
      fmt::format("last: step {}, loss {}, gradient norm {}{}", last, text(loss), text(grad_norm),
                  dump.empty() ? "" : ", batch in " + dump),
      "lower optim.lr or optim.max_norm, look at the dumped batches, or raise max_nonfinite_steps");
}

std::string dump_batch(const std::string& dir, std::int64_t step, double loss, double grad_norm,
                       const std::vector<data::MicroBatch>& batches) {
  nlohmann::ordered_json root;
  root["step"] = step;
  root["loss"] = number(loss);
  root["grad_norm"] = number(grad_norm);
  root["micro_batches"] = nlohmann::ordered_json::array();
  for (const data::MicroBatch& batch : batches) {
    nlohmann::ordered_json b;
    b["ids"] = batch.ids;
    b["cu_seqlens"] = batch.cu_seqlens;
    b["mask"] = batch.mask;
    b["sample_index"] = batch.sample_index;
    if (batch.rl) {
      b["inference_logprobs"] = numbers(batch.inference_logprobs);
      b["advantages"] = numbers(batch.advantages);
    }
    if (!batch.teacher_logprobs.empty()) b["teacher_logprobs"] = numbers(batch.teacher_logprobs);
    if (!batch.ce_weights.empty()) b["ce_weights"] = numbers(batch.ce_weights);
    if (!batch.temperatures.empty()) b["temperatures"] = numbers(batch.temperatures);
    root["micro_batches"].push_back(std::move(b));
  }
  durable::FileLayer& files = durable::system_files();
  durable::make_directories(files, dir);
  std::string path = fmt::format("{}/nonfinite_step_{}.json", dir, step);
  durable::write_file(files, path, root.dump() + "\n");
  return path;
}

void add_metrics(const LossMetrics& v, monitor::Metrics& out) {
  monitor::Metrics loss;
  loss.set_distribution("loss", v.document_loss);
  // The mean is that of the step over all its loss tokens, which the trainer sets.
  for (const auto& [name, value] : loss.items()) {
    if (name != "loss/mean") out.set(name, value);
  }
  out.set_distribution("entropy", v.entropy);
  out.set_distribution("trainer_probs", v.trainer_probs);
  out.set_distribution("inference_probs", v.inference_probs);
  out.set_distribution("mismatch_kl", v.mismatch_kl);
  out.set_distribution("masked_mismatch_kl", v.masked_mismatch_kl);
  out.set_distribution("unmasked_mismatch_kl", v.unmasked_mismatch_kl);
  out.set_distribution("is_masked", v.is_masked);
  out.set_distribution("is_masked_low", v.is_masked_low);
  out.set_distribution("is_masked_high", v.is_masked_high);
  out.set_distribution("sequence_masked_low", v.sequence_masked_low);
  out.set_distribution("sequence_masked_high", v.sequence_masked_high);
  out.set_distribution("geo_masked_low", v.geo_masked_low);
  out.set_distribution("geo_masked_high", v.geo_masked_high);
  out.set_distribution("geo_seq_ratio", v.geo_seq_ratio);
  out.set_distribution("teacher_kl", v.teacher_kl);
  out.set_distribution("nll", v.nll);
  out.set("mismatch/max_abs_logprob", v.max_abs_mismatch);
}

}  // namespace rlcpp::train
