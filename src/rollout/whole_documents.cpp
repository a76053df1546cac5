#include "rollout/whole_documents.h"

#include <algorithm>

#include "base/error.h"

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

void fill_whole_documents(std::span<const StepPlan::Chunk> chunks, const WholeRun& run, StepViews& step) {
  if (run.rows == 0) return;
  const std::int32_t first = chunks[run.begin].row;
  std::int64_t longest = kShortestLongest;
  std::int32_t at = 0;
  std::size_t place = 0;
  step.whole[0] = 0;
  for (const StepPlan::Chunk& chunk : chunks.subspan(run.begin, run.end - run.begin)) {
    RLCPP_CHECK(chunk.row == first + at);
    at += chunk.count;
    longest = std::max<std::int64_t>(longest, chunk.count);
    step.whole[++place] = at;
  }
  const std::int64_t places = whole_places(static_cast<std::int64_t>(place));
  while (place < static_cast<std::size_t>(places)) step.whole[++place] = at;  // empty documents
  step.batch.whole = {first, run.rows, {step.device_whole.rows(0, places + 1), std::min(longest, run.rows)}};
}

}  // namespace rlcpp::rollout
