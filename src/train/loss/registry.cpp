#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "train/loss/kinds.h"

namespace rlcpp::train {
namespace {

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const LossKind& kind : loss_kinds()) out.push_back(kind.name);
  return out;
}

const LossKind& find_kind(const std::string& name) {
  for (const LossKind& kind : loss_kinds()) {
    if (kind.name == name) return kind;
  }
  throw bad_input(fmt::format("loss.type cannot be '{}'", name),
                  fmt::format("known are {}", fmt::join(names(), ", ")), "use one of them");
}

}  // namespace

const std::vector<LossKind>& loss_kinds() {
  static const std::vector<LossKind> kinds = {default_loss(),      grpo_loss(), gspo_loss(),
                                              dppo_loss(),         ipo_loss(),  distill_loss(),
                                              cross_entropy_loss()};
  return kinds;
}

void LossConfig::describe(config::Schema& s) {
  std::string kinds;
  for (const LossKind& kind : loss_kinds()) kinds += fmt::format(" {}: {}.", kind.name, kind.summary);
  s.field("type", type, "Loss of the policy." + kinds)
      .one_of(names())
      .no_choice("custom",
                 "losses are files of src/train/loss, and none is loaded at run time: add one there, "
                 "or use a kind that exists");
  s.field("ratio_type", ratio_type,
          "Importance ratio of the default loss: of each token, or of the whole sequence (then averaged over "
          "sequences).")
      .one_of({"token", "sequence"});
  s.field("token_mask_low", token_mask_low, "Mask tokens whose ratio is below this.").at_least(0);
  s.field("token_mask_high", token_mask_high, "Mask tokens whose ratio is above this.").at_least(0);
  s.field("sequence_clip_high", sequence_clip_high, "Upper bound of the sequence ratio.").at_least(0);
  s.field("geo_mask_low", geo_mask_low, "Mask sequences whose geometric-mean ratio is below this.")
      .at_least(0);
  s.field("geo_mask_high", geo_mask_high, "Mask sequences whose geometric-mean ratio is above this.")
      .at_least(0);
  s.field("sequence_mask_low", sequence_mask_low, "Mask sequences whose smallest token ratio is below this.")
      .at_least(0);
  s.field("sequence_mask_high", sequence_mask_high, "Mask sequences whose largest token ratio is above this.")
      .at_least(0);
  s.field("adv_tau", adv_tau, "Weight of the advantage.").at_least(0);
  s.field("teacher_tau", teacher_tau, "Weight of the distance to a teacher; needs teacher log-probabilities.")
      .at_least(0);
  s.field("kl_tau", kl_tau,
          "Weight of the distance between trainer and sampler; with dppo, ipo and distill of its square.")
      .at_least(0);
  s.field("clip_low", clip_low, "grpo: ratios below 1 - clip_low earn nothing more.").at_least(0).at_most(1);
  s.field("clip_high", clip_high, "grpo: ratios above 1 + clip_high earn nothing more.").at_least(0);
  s.field("gspo_clip_low", gspo_clip_low, "gspo: ratios of an answer below 1 - this earn nothing more.")
      .at_least(0)
      .at_most(1);
  s.field("gspo_clip_high", gspo_clip_high, "gspo: ratios of an answer above 1 + this earn nothing more.")
      .at_least(0);
  s.field("dppo_mask_low", dppo_mask_low,
          "dppo, distill: mask tokens whose probability fell by more than this (dppo: with an advantage of "
          "at most 0).")
      .at_least(0);
  s.field("dppo_mask_high", dppo_mask_high,
          "dppo: mask tokens with a positive advantage whose probability rose by more than this.")
      .at_least(0);
  s.field("ipo_threshold", ipo_threshold, "ipo: mask tokens whose probability changed by more than this.")
      .at_least(0);
}

void LossConfig::validate() const {
  find_kind(type);
  const auto ordered = [](const char* name, double low, double high) {
    if (low < high) return;
    throw bad_input(fmt::format("loss.{}_low is not below loss.{}_high", name, name),
                    fmt::format("{} and {}", low, high), "every low bound must be under its high bound");
  };
  ordered("token_mask", token_mask_low, token_mask_high);
  ordered("geo_mask", geo_mask_low, geo_mask_high);
  ordered("sequence_mask", sequence_mask_low, sequence_mask_high);
  const LossConfig fresh;
  const auto unread = [&](const char* name, bool changed, const std::vector<std::string>& readers) {
    if (!changed || std::find(readers.begin(), readers.end(), type) != readers.end()) return;
    throw bad_input(fmt::format("loss.{} has no effect on loss.type '{}'", name, type),
                    fmt::format("only '{}' reads it", fmt::join(readers, "' and '")),
                    fmt::format("remove it or set loss.type = \"{}\"", readers.front()));
  };
  unread("ratio_type", ratio_type != fresh.ratio_type, {"default"});
  unread("teacher_tau", teacher_tau != fresh.teacher_tau, {"default"});
  unread("kl_tau", kl_tau != fresh.kl_tau, {"default", "dppo", "ipo", "distill"});
  unread("clip_low", clip_low != fresh.clip_low, {"grpo"});
  unread("clip_high", clip_high != fresh.clip_high, {"grpo"});
  unread("gspo_clip_low", gspo_clip_low != fresh.gspo_clip_low, {"gspo"});
  unread("gspo_clip_high", gspo_clip_high != fresh.gspo_clip_high, {"gspo"});
  unread("dppo_mask_low", dppo_mask_low != fresh.dppo_mask_low, {"dppo", "distill"});
  unread("dppo_mask_high", dppo_mask_high != fresh.dppo_mask_high, {"dppo"});
  unread("ipo_threshold", ipo_threshold != fresh.ipo_threshold, {"ipo"});
}

void policy_loss(const LossConfig& config, const DocumentStreams& doc, double scale,
                 std::span<float> coefficients, LossMetrics& metrics) {
  const std::size_t n = doc.mask.size();
  RLCPP_CHECK(doc.trainer_logprobs.size() == n && coefficients.size() == n && scale > 0);
  const bool supervised = config.type == "cross_entropy";
  RLCPP_CHECK(doc.inference_logprobs.size() == n || (supervised && doc.inference_logprobs.empty()));
  RLCPP_CHECK(doc.advantages.size() == n || (supervised && doc.advantages.empty()));
  RLCPP_CHECK(doc.teacher_logprobs.empty() || doc.teacher_logprobs.size() == n);
  RLCPP_CHECK(doc.entropies.empty() || doc.entropies.size() == n);
  std::fill(coefficients.begin(), coefficients.end(), 0.0F);
  const auto tokens = std::count_if(doc.mask.begin(), doc.mask.end(), [](std::uint8_t m) { return m != 0; });
  if (tokens > 0) {
    const double before = std::exchange(metrics.loss, 0.0);
    find_kind(config.type).run(config, doc, scale, coefficients, metrics);
    // Divided by sequences, a document's share is its mean already.
    const double own = config.divides_by_sequences() ? 1.0 : static_cast<double>(tokens);
    metrics.document_loss.push_back(metrics.loss * scale / own);
    metrics.loss += before;
  }
  metrics.documents += 1;
}

}  // namespace rlcpp::train
