// A teacher beside the policy: a frozen model that says how likely it finds the tokens that the policy
// sampled.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/run_model.h"
#include "data/batch.h"
#include "orchestrator/config.h"
#include "train/scorer.h"

namespace rlcpp::app {

class Teacher {
 public:
  // Finds the model. Throws bad_input if there is none, or its vocabulary is not the policy's.
  Teacher(const orchestrator::TeacherSection& section, const RunModel& policy, std::int64_t seed);
  // Adds its weights, and what rows of up to `row_tokens` tokens need, to the plan.
  void plan(const ops::Context& ctx, std::int64_t row_tokens, std::int64_t positions, MemoryPlan& plan);
  void load(const ops::Context& ctx, const Arena& arena, std::int64_t seed);

  // Sets teacher_logprobs of every row, with the rows' temperatures as the policy's are computed; 0 where the
  // mask is. Returns the seconds it took.
  double score(std::vector<data::MicroBatch>& rows);
  const std::string& text() const { return model_.text; }

 private:
  RunModel model_;
  model::WeightRegions weights_, packed_;
  model::RopeRegions rope_;
  train::Scorer::Regions regions_;
  std::unique_ptr<train::Scorer> scorer_;
};

// Null without a section.
std::unique_ptr<Teacher> make_teacher(const std::optional<orchestrator::TeacherSection>& section,
                                      const RunModel& policy, std::int64_t seed);

}  // namespace rlcpp::app
