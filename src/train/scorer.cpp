#include "train/scorer.h"

#include "ops/head.h"
#include "ops/workspace.h"

namespace rlcpp::train {

Scorer::Regions Scorer::plan(const ops::Context& ctx, const model::ModelConfig& model,
                             std::int64_t max_tokens, MemoryPlan& plan) {
  Regions r;
  r.activations =
      model::Activations::plan(model, plan, max_tokens, model::Recompute::kFull, ctx.compute_type());
  r.rows = plan_rows(plan, max_tokens);
  TrainerOptions options;
  options.max_tokens = max_tokens;
  r.scratch = plan_scratch(ctx, model, options, plan);
  return r;
}

Scorer::Scorer(const ops::Context& ctx, const model::ModelConfig& model, const Arena& arena,
               const Regions& regions, const model::WeightSet& weights, const model::WeightSet& packed,
               const model::RopeTables& rope)
    : ctx_(ctx),
      model_(model),
      weights_(weights),
      packed_(packed),
      rope_(rope),
      activations_(ctx, model, arena, regions.activations),
      logits_(arena[regions.scratch.logits]),
      rows_(ctx, arena, regions.rows, model.vocab_size) {
  if (regions.scratch.workspace.index >= 0) ops::use_workspace(ctx, arena[regions.scratch.workspace]);
  model::pack_all(ctx, packed, weights);
}

std::vector<float> Scorer::logprobs(const data::MicroBatch& batch) {
  const Row row = rows_.load(batch, Targets::kAll);
  const Tensor hidden = model::forward(ctx_, model_, weights_, packed_, rope_, row.packed, activations_);
  ops::head_logprobs(ctx_, row.logprobs, Tensor(),
                     {hidden, weights_.head, packed_.head, row.targets, row.temperatures, logits_});
  rows_.fetch(row);
  std::vector<float> out(batch.ids.size());
  rows_to_tokens(batch, rows_.logprobs(row), out);
  return out;
}

}  // namespace rlcpp::train
