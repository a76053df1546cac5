#include "client/policy_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/wait.h"

namespace rlcpp::client {

std::vector<rollout::SampledSequence> collect(PolicyClient& client, std::size_t count,
                                              const WaitLimits& limits) {
  std::vector<rollout::SampledSequence> all;
  Wait wait(client.name(), fmt::format("{} sampled sequences", client.outstanding()), limits.soft,
            limits.hard);
  while (all.size() < count && client.outstanding() > 0) {
    PolicyClient::Poll poll = client.poll();
    std::ranges::move(poll.finished, std::back_inserter(all));
    if (poll.progressed) {
      wait.progress();
    } else {
      wait.check();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return all;
}

std::vector<rollout::SampledSequence> collect_all(PolicyClient& client, const WaitLimits& limits) {
  return collect(client, std::numeric_limits<std::size_t>::max(), limits);
}

void GroupCollector::expect(std::int64_t group_id, std::int32_t n) {
  RLCPP_CHECK(n >= 1);
  RLCPP_CHECK(std::ranges::none_of(open_, [&](const Open& open) { return open.group.id == group_id; }));
  open_.push_back({{group_id, {}}, n});
}

void GroupCollector::add(rollout::SampledSequence sequence) {
  const auto place =
      std::ranges::find_if(open_, [&](const Open& open) { return open.group.id == sequence.group; });
  RLCPP_CHECK(place != open_.end());
  std::vector<rollout::SampledSequence>& samples = place->group.samples;
  const auto next = std::ranges::lower_bound(samples, sequence.sample, {}, &rollout::SampledSequence::sample);
  RLCPP_CHECK(sequence.sample < place->expected &&
              (next == samples.end() || next->sample != sequence.sample));
  samples.insert(next, std::move(sequence));
  if (static_cast<std::int32_t>(samples.size()) < place->expected) return;
  complete_.push_back(std::move(place->group));
  open_.erase(place);
}

std::vector<FinishedGroup> GroupCollector::take_complete() {
  return std::exchange(complete_, {});
}

}  // namespace rlcpp::client
