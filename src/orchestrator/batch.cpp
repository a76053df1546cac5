#include "orchestrator/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace rlcpp::orchestrator {

void set_advantages(std::vector<Group>& groups, const Algorithm& algorithm) {
  std::vector<std::vector<Outcome>> outcomes;
  std::vector<std::vector<double>> values;
  for (const Group& group : groups) {
    std::vector<Outcome>& own = outcomes.emplace_back();
    for (const Rollout& rollout : group.rollouts) own.push_back({rollout.reward, rollout.sampled_tokens()});
    values.push_back(algorithm.advantages(own));
    RLCPP_CHECK(values.back().size() == group.rollouts.size());
  }
  if (algorithm.batch != nullptr) algorithm.batch(outcomes, values);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t i = 0; i < values[g].size(); ++i) groups[g].rollouts[i].advantage = values[g][i];
  }
}

data::Sample make_sample(const Group& group, const Rollout& rollout, double temperature, std::int64_t seq_len,
                         std::int64_t index, const RoleWeights& roles) {
  const auto limit = static_cast<std::size_t>(seq_len);
  const std::size_t prompt = std::min(group.prompt_ids.size(), limit);
  const std::size_t completion = std::min(rollout.ids.size(), limit - prompt);
  const std::size_t length = prompt + completion;
  RLCPP_CHECK(prompt > 0);
  data::Sample out;
  out.ids.assign(group.prompt_ids.begin(), group.prompt_ids.begin() + static_cast<std::ptrdiff_t>(prompt));
  out.ids.insert(out.ids.end(), rollout.ids.begin(),
                 rollout.ids.begin() + static_cast<std::ptrdiff_t>(completion));
  out.mask.assign(length, 0);
  out.inference_logprobs.assign(length, 0.0F);
  out.advantages.assign(length, 0.0F);
  out.temperature = static_cast<float>(temperature);
  out.index = index;
  if (!rollout.error.empty()) return out;
  const auto train = [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < std::min(end, completion); ++t) {
      out.mask[prompt + t] = 1;
      out.inference_logprobs[prompt + t] = rollout.logprobs[t];
      out.advantages[prompt + t] = static_cast<float>(rollout.advantage);
    }
  };
  std::size_t begin = 0;
  for (const Reply& reply : rollout.replies) {
    train(begin, static_cast<std::size_t>(reply.begin));
    begin = static_cast<std::size_t>(reply.end);
  }
  train(begin, completion);
  std::vector<float> weights = reply_weights(rollout, roles);
  weights.resize(std::min(weights.size(), completion));
  if (!weights.empty()) {
    out.ce_weights.assign(prompt, 0.0F);
    out.ce_weights.insert(out.ce_weights.end(), weights.begin(), weights.end());
  }
  return out;
}

namespace {

struct Row {
  std::vector<std::size_t> samples;
  std::int64_t tokens = 0;
};

// One pass of moves from the longest row to the shortest; each strictly lowers the longer of the two, so it
// ends.
void even_out(std::vector<Row>& rows, const std::vector<std::int64_t>& lengths) {
  for (std::size_t moves = 0; rows.size() > 1 && moves < lengths.size(); ++moves) {
    const auto by_tokens = [](const Row& a, const Row& b) { return a.tokens < b.tokens; };
    Row& longest = *std::max_element(rows.begin(), rows.end(), by_tokens);
    Row& shortest = *std::min_element(rows.begin(), rows.end(), by_tokens);
    const std::int64_t gap = longest.tokens - shortest.tokens;
    // The largest sample whose move does not just swap the two.
    auto best = longest.samples.end();
    for (auto s = longest.samples.begin(); s != longest.samples.end(); ++s) {
      if (lengths[*s] * 2 <= gap && (best == longest.samples.end() || lengths[*s] > lengths[*best])) best = s;
    }
    if (best == longest.samples.end()) return;
    const std::size_t sample = *best;
    longest.samples.erase(best);
    longest.tokens -= lengths[sample];
    shortest.samples.push_back(sample);
    shortest.tokens += lengths[sample];
  }
}

}  // namespace

std::vector<data::MicroBatch> pack_rows(const std::vector<data::Sample>& samples, std::int64_t row_tokens) {
  std::vector<std::int64_t> lengths;
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    lengths.push_back(static_cast<std::int64_t>(samples[i].ids.size()));
    const bool trained =
        std::find(samples[i].mask.begin(), samples[i].mask.end(), 1) != samples[i].mask.end();
    if (trained) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  std::vector<Row> rows;
  for (const std::size_t i : order) {
    if (lengths[i] > row_tokens) {
      throw bad_input(fmt::format("a rollout of {} tokens does not fit a row", lengths[i]),
                      fmt::format("trainer.model.seq_len is {}", row_tokens),
                      "raise it to orchestrator.seq_len at least");
    }
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const Row& r) { return r.tokens + lengths[i] <= row_tokens; });
    if (row == rows.end()) row = rows.insert(rows.end(), Row{});
    row->samples.push_back(i);
    row->tokens += lengths[i];
  }
  even_out(rows, lengths);
  std::vector<data::MicroBatch> out;
  for (Row& row : rows) {
    // In the order of the batch within a row: neighbours of a group stay neighbours, and files read
    // naturally.
    std::sort(row.samples.begin(), row.samples.end());
    data::MicroBatch batch;
    for (const std::size_t i : row.samples) batch.append(samples[i]);
    out.push_back(std::move(batch));
  }
  return out;
}

}  // namespace rlcpp::orchestrator
