#include "orchestrator/buffer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_problem.h"

namespace rlcpp::orchestrator {
namespace {

// Keeps the draws apart from other uses of the same seed.
constexpr std::uint64_t kBufferStream = 0xB0;

double ratio_of(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Buffer::Buffer(const BufferSection& section, std::vector<Source> sources, std::uint64_t seed)
    : section_(section),
      rng_(section.seed.has_value() ? static_cast<std::uint64_t>(*section.seed) : seed, kBufferStream) {
  RLCPP_CHECK(!sources.empty());
  RLCPP_CHECK(section.env_ratios.empty() || section.env_ratios.size() == sources.size());
  for (Source& source : sources) {
    Environment environment;
    environment.normal.resize(static_cast<std::size_t>(source.size));
    std::iota(environment.normal.begin(), environment.normal.end(), 0);
    environment.source = std::move(source);
    environments_.push_back(std::move(environment));
  }
}

std::int64_t Buffer::normal_examples() const {
  std::int64_t count = 0;
  for (const Environment& environment : environments_)
    count += static_cast<std::int64_t>(environment.normal.size());
  return count;
}

bool Buffer::all_excluded() const {
  return std::all_of(environments_.begin(), environments_.end(), [](const Environment& environment) {
    return static_cast<std::int64_t>(environment.excluded.size()) == environment.source.size;
  });
}

Example Buffer::sample() {
  std::vector<double> weights;
  for (std::size_t e = 0; e < environments_.size(); ++e) {
    const auto normal = static_cast<double>(environments_[e].normal.size());
    weights.push_back(normal == 0 || section_.env_ratios.empty() ? normal : section_.env_ratios[e]);
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (total == 0) {
    throw runtime_failure("no example is left to train on", "all are in the easy or hard pool, or too long",
                          "loosen orchestrator.buffer thresholds or give more data");
  }
  double point = rng_.uniform_double() * total;
  std::size_t chosen = 0;
  while (chosen + 1 < weights.size() && (weights[chosen] == 0 || point >= weights[chosen]))
    point -= weights[chosen++];
  // Rounding may carry the point past the last environment that has examples.
  while (weights[chosen] == 0) --chosen;
  const std::vector<std::int64_t>& normal = environments_[chosen].normal;
  return {static_cast<std::int64_t>(chosen), normal[rng_.below(normal.size())]};
}

std::vector<std::int64_t>& Buffer::Environment::pool(Pool which) {
  switch (which) {
    case Pool::kEasy:
      return easy;
    case Pool::kHard:
      return hard;
    case Pool::kExcluded:
      return excluded;
    case Pool::kNormal:
      break;
  }
  return normal;
}

void Buffer::move(const Example& example, Pool to) {
  Environment& environment = environments_[static_cast<std::size_t>(example.env)];
  const auto place = std::lower_bound(environment.normal.begin(), environment.normal.end(), example.index);
  // Drawn twice, the second group of an example may find it moved already.
  if (place == environment.normal.end() || *place != example.index) return;
  environment.normal.erase(place);
  environment.pool(to).push_back(example.index);
}

void Buffer::exclude(const Example& example) {
  move(example, Pool::kExcluded);
}

namespace {

double mean_of(std::span<const double> rewards) {
  RLCPP_CHECK(!rewards.empty());
  return std::accumulate(rewards.begin(), rewards.end(), 0.0) / static_cast<double>(rewards.size());
}

}  // namespace

bool Buffer::keeps(std::span<const double> rewards) const {
  const double mean = mean_of(rewards);
  return !section_.online_difficulty_filtering || (mean != 0.0 && mean != 1.0);
}

bool Buffer::update(const Example& example, std::span<const double> rewards) {
  const double mean = mean_of(rewards);
  const auto count = static_cast<std::int64_t>(rewards.size());
  groups_ += 1;
  rollouts_ += count;
  if (section_.easy_threshold.has_value() && mean >= *section_.easy_threshold) {
    move(example, Pool::kEasy);
    evicted_easy_ += 1;
  } else if (section_.hard_threshold.has_value() && mean <= *section_.hard_threshold) {
    move(example, Pool::kHard);
    evicted_hard_ += 1;
  }
  const bool kept = keeps(rewards);
  if (!kept) (mean == 0.0 ? filtered_hard_ : filtered_easy_) += count;
  return kept;
}

monitor::Metrics Buffer::metrics() {
  std::int64_t easy = 0, hard = 0;
  for (const Environment& environment : environments_) {
    easy += static_cast<std::int64_t>(environment.easy.size());
    hard += static_cast<std::int64_t>(environment.hard.size());
  }
  const std::int64_t normal = normal_examples();
  const std::int64_t all = easy + normal + hard;
  monitor::Metrics out;
  out.set("pool/easy", ratio_of(easy, all));
  out.set("pool/normal", ratio_of(normal, all));
  out.set("pool/hard", ratio_of(hard, all));
  out.set("evicted_examples/easy", ratio_of(evicted_easy_, groups_));
  out.set("evicted_examples/hard", ratio_of(evicted_hard_, groups_));
  out.set("filtered_rollouts/easy", ratio_of(filtered_easy_, rollouts_));
  out.set("filtered_rollouts/hard", ratio_of(filtered_hard_, rollouts_));
  groups_ = evicted_easy_ = evicted_hard_ = rollouts_ = filtered_easy_ = filtered_hard_ = 0;
  return out;
}

nlohmann::json Buffer::state() const {
  nlohmann::json out = {{"rng_position", rng_.position()}, {"environments", nlohmann::json::array()}};
  for (const Environment& environment : environments_) {
    const auto listed = [&](const std::vector<std::int64_t>& pool) {
      nlohmann::json list = nlohmann::json::array();
      for (const std::int64_t index : pool) list.push_back({index, environment.source.fingerprint(index)});
      return list;
    };
    out["environments"].push_back({{"name", environment.source.name},
                                   {"easy", listed(environment.easy)},
                                   {"hard", listed(environment.hard)},
                                   {"excluded", listed(environment.excluded)}});
  }
  return out;
}

void Buffer::release(std::vector<std::int64_t>& pool, Environment& from, double fraction) {
  const auto count = static_cast<std::size_t>(fraction * static_cast<double>(pool.size()));
  for (std::size_t i = 0; i < count; ++i) {
    const auto drawn = pool.begin() + static_cast<std::ptrdiff_t>(rng_.below(pool.size()));
    from.normal.insert(std::lower_bound(from.normal.begin(), from.normal.end(), *drawn), *drawn);
    pool.erase(drawn);
  }
}

std::vector<std::string> Buffer::restore(const nlohmann::json& state) {
  std::vector<std::string> notes;
  try {
    rng_.set_position(state.at("rng_position").get<std::uint64_t>());
    for (const nlohmann::json& saved : state.at("environments")) {
      const auto name = saved.at("name").get<std::string>();
      const auto found = std::find_if(environments_.begin(), environments_.end(),
                                      [&](const Environment& e) { return e.source.name == name; });
      if (found == environments_.end()) {
        notes.push_back(fmt::format("environment '{}' of the checkpoint is not in this configuration", name));
        continue;
      }
      const Source& source = found->source;
      std::unordered_map<std::uint64_t, std::int64_t> by_content;  // made only if the data changed
      std::int64_t missing = 0;
      const auto locate = [&](std::int64_t index, std::uint64_t fingerprint) -> std::int64_t {
        if (index >= 0 && index < source.size && source.fingerprint(index) == fingerprint) return index;
        if (by_content.empty()) {
          for (std::int64_t i = 0; i < source.size; ++i) by_content.emplace(source.fingerprint(i), i);
        }
        const auto place = by_content.find(fingerprint);
        return place == by_content.end() ? -1 : place->second;
      };
      constexpr std::array<std::pair<const char*, Pool>, 3> kPools = {
          {{"easy", Pool::kEasy}, {"hard", Pool::kHard}, {"excluded", Pool::kExcluded}}};
      for (const auto& [key, pool] : kPools) {
        for (const nlohmann::json& entry : saved.at(key)) {
          const std::int64_t index =
              locate(entry.at(0).get<std::int64_t>(), entry.at(1).get<std::uint64_t>());
          if (index < 0) {
            missing += 1;
          } else {
            move({found - environments_.begin(), index}, pool);
          }
        }
      }
      if (missing > 0) {
        notes.push_back(fmt::format(
            "{} easy or hard examples of environment '{}' are not in its data any more", missing, name));
      }
      release(found->easy, *found, section_.easy_fraction);
      release(found->hard, *found, section_.hard_fraction);
    }
  } catch (const nlohmann::json::exception& e) {
    throw bad_input("the checkpoint's buffer cannot be read", json_problem(e), "resume from an earlier step");
  }
  return notes;
}

}  // namespace rlcpp::orchestrator
