#include "rollout/whole_documents.h"

#include <algorithm>

#include "base/error.h"
#include "model/decoder_block.h"
#include "ops/attention.h"

namespace rlcpp::rollout {
namespace {

constexpr std::int64_t kFewestRows = 128;
// What cuDNN is told at least of the longest document: it makes a plan for every power of two.
constexpr std::int64_t kShortestLongest = 1024;

}  // namespace

WholeRun whole_run(std::span<const StepPlan::Chunk> chunks) {
  WholeRun best;
  for (std::size_t begin = 0; begin < chunks.size();) {
    WholeRun run = {begin, begin, 0};
    for (; run.end < chunks.size(); ++run.end) {
      const StepPlan::Chunk& chunk = chunks[run.end];
      if (chunk.start != 0 || chunk.count == 1) break;
      run.rows += chunk.count;
    }
    if (run.rows > best.rows) best = run;
    begin = run.end + 1;
  }
  return best.rows < kFewestRows ? WholeRun{} : best;
}

WholeNumbers numbers_of(std::span<const StepPlan::Chunk> chunks, const WholeRun& run) {
  std::int64_t longest = kShortestLongest;
  for (const StepPlan::Chunk& chunk : chunks.subspan(run.begin, run.end - run.begin))
    longest = std::max<std::int64_t>(longest, chunk.count);
  return {whole_places(static_cast<std::int64_t>(run.end - run.begin)), std::min(longest, run.rows)};
}

WholeRun whole_run_on(const ops::Context& ctx, const model::ModelConfig& model,
                      std::span<const StepPlan::Chunk> chunks) {
  if (ctx.mode == ops::NumericMode::kExact) return {};
  const WholeRun run = whole_run(chunks);
  if (run.rows == 0) return run;
  const WholeNumbers numbers = numbers_of(chunks, run);
  const bool pays = ops::documents_in_library(ctx, run.rows, numbers.documents, numbers.longest, model.qkv(),
                                              model::attention_scale(model));
  return pays ? run : WholeRun{};
}

void fill_whole_documents(std::span<const StepPlan::Chunk> chunks, const WholeRun& run, StepViews& step) {
  if (run.rows == 0) return;
  const std::int32_t first = chunks[run.begin].row;
  const WholeNumbers numbers = numbers_of(chunks, run);
  std::int32_t at = 0;
  std::size_t place = 0;
  step.whole[0] = 0;
  for (const StepPlan::Chunk& chunk : chunks.subspan(run.begin, run.end - run.begin)) {
    RLCPP_CHECK(chunk.row == first + at);
    at += chunk.count;
    step.whole[++place] = at;
  }
  while (place < static_cast<std::size_t>(numbers.documents)) step.whole[++place] = at;  // empty documents
  step.batch.whole = {first, run.rows, {step.device_whole.rows(0, numbers.documents + 1), numbers.longest}};
}

}  // namespace rlcpp::rollout
