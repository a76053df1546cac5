#include "app/rl_teacher.h"

#include <fmt/format.h>

#include "app/run_clock.h"
#include "base/error.h"

namespace rlcpp::app {
namespace {

ModelSection section_of(const orchestrator::TeacherSection& teacher) {
  ModelSection out;
  out.name = teacher.model.name;
  return out;
}

// Messages about a model begin with the key of the policy's.
RunModel resolve_teacher(const orchestrator::TeacherSection& section, std::int64_t seed) {
  try {
    return resolve_model(section_of(section), seed, false);
  } catch (const Error& error) {
    const std::string what = error.what();
    if (!what.starts_with("model.name")) throw;
    throw Error(error.code(), "orchestrator.teacher_model." + what, error.because(), error.help());
  }
}

}  // namespace

Teacher::Teacher(const orchestrator::TeacherSection& section, const RunModel& policy, std::int64_t seed)
    : model_(resolve_teacher(section, seed)) {
  if (model_.config.vocab_size == policy.config.vocab_size) return;
  throw bad_input(fmt::format("teacher_model.model.name = \"{}\" has another vocabulary than the policy",
                              section.model.name),
                  fmt::format("{} ids against {}: it is asked about the policy's tokens by their ids",
                              model_.config.vocab_size, policy.config.vocab_size),
                  "take a teacher of the policy's family, with the same tokenizer");
}

void Teacher::plan(const ops::Context& ctx, std::int64_t row_tokens, std::int64_t positions,
                   MemoryPlan& plan) {
  require_positions(model_, positions, "orchestrator.seq_len");
  weights_ = model::plan_weights(model_.config, plan, MemoryUse::kWeights, "teacher.", ctx.compute_type());
  packed_ = model::plan_packed(model_.config, ctx, plan);
  rope_ = model::plan_rope(model_.config, plan, positions);
  regions_ = train::Scorer::plan(ctx, model_.config, row_tokens, plan);
}

void Teacher::load(const ops::Context& ctx, const Arena& arena, std::int64_t seed) {
  const model::WeightSet weights = model::make_weight_set(model_.config, arena, weights_);
  fill_weights(model_, weights, seed, *ctx.pool);
  scorer_ = std::make_unique<train::Scorer>(ctx, model_.config, arena, regions_, weights,
                                            model::make_packed_set(model_.config, arena, packed_),
                                            model::make_rope(model_.config, arena, rope_));
}

double Teacher::score(std::vector<data::MicroBatch>& rows) {
  const double begin = monotonic_seconds();
  for (data::MicroBatch& row : rows) {
    row.teacher_logprobs = scorer_->logprobs(row);
    for (std::size_t t = 0; t < row.mask.size(); ++t) {
      if (row.mask[t] == 0) row.teacher_logprobs[t] = 0.0F;
    }
  }
  return monotonic_seconds() - begin;
}

std::unique_ptr<Teacher> make_teacher(const std::optional<orchestrator::TeacherSection>& section,
                                      const RunModel& policy, std::int64_t seed) {
  return section.has_value() ? std::make_unique<Teacher>(*section, policy, seed) : nullptr;
}

}  // namespace rlcpp::app
