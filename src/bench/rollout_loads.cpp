#include "bench/rollout_loads.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/rng.h"
#include "bench/python_random.h"

namespace rlcpp::bench {
namespace {

std::int64_t scaled(std::int64_t full, const LoadScale& scale) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(full) * scale.fraction));
}

std::int32_t id_of(std::int64_t value, const LoadScale& scale) {
  return static_cast<std::int32_t>(value % scale.vocabulary);
}

// Ids below 10001, as in nano-vllm's load; the numbers of `stream` depend on nothing else.
std::vector<std::int32_t> random_prompt(std::int64_t tokens, std::uint64_t stream, const LoadScale& scale) {
  Rng rng(0, stream);
  std::vector<std::int32_t> out;
  for (std::int64_t i = 0; i < tokens; ++i)
    out.push_back(id_of(static_cast<std::int64_t>(rng.below(10001)), scale));
  return out;
}

// The first `most` sequences.
void keep_first(RolloutLoad& load, std::int64_t most) {
  std::int64_t left = most;
  for (RolloutRequest& request : load.requests) {
    request.n = std::min(request.n, left);
    left -= request.n;
  }
  std::erase_if(load.requests, [](const RolloutRequest& request) { return request.n == 0; });
}

void check(const LoadScale& scale) {
  RLCPP_CHECK(scale.fraction > 0 && scale.fraction <= 1 && scale.vocabulary > 0);
}

}  // namespace

std::int64_t RolloutLoad::sequences() const {
  std::int64_t sum = 0;
  for (const RolloutRequest& request : requests) sum += request.n;
  return sum;
}

std::int64_t RolloutLoad::prompt_tokens() const {
  std::int64_t sum = 0;
  for (const RolloutRequest& request : requests)
    sum += request.n * static_cast<std::int64_t>(request.prompt.size());
  return sum;
}

std::int64_t RolloutLoad::output_tokens() const {
  std::int64_t sum = 0;
  for (const RolloutRequest& request : requests) sum += request.n * request.max_tokens;
  return sum;
}

std::int64_t RolloutLoad::longest() const {
  std::int64_t most = 0;
  for (const RolloutRequest& request : requests)
    most = std::max(most, static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens);
  return most;
}

std::int64_t RolloutLoad::pages(std::int64_t page_size) const {
  std::int64_t sum = 0;
  for (const RolloutRequest& request : requests) {
    const std::int64_t tokens = static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens;
    sum += request.n * ((tokens + page_size - 1) / page_size);
  }
  return sum;
}

RolloutLoad nano_load(const LoadScale& scale) {
  check(scale);
  PythonRandom random(0);
  RolloutLoad load{"nano", "", false, {}};
  // Everything is drawn in full and cut afterwards: a part of the load has the ids of the whole.
  for (int i = 0; i < 256; ++i) {
    std::vector<std::int32_t> prompt;
    const std::int64_t length = random.randint(100, 1024);
    for (std::int64_t t = 0; t < length; ++t) prompt.push_back(id_of(random.randint(0, 10000), scale));
    prompt.resize(static_cast<std::size_t>(scaled(length, scale)));
    load.requests.push_back({std::move(prompt), 1, 1});
  }
  for (RolloutRequest& request : load.requests) request.max_tokens = scaled(random.randint(100, 1024), scale);
  load.requests.resize(static_cast<std::size_t>(scaled(256, scale)));
  return load;
}

RolloutLoad groups_load(const LoadScale& scale, bool shared) {
  check(scale);
  const std::int64_t groups = scaled(16, scale), tokens = scaled(512, scale);
  RolloutLoad load{"groups", shared ? "shared prompts" : "separate prompts", shared, {}};
  for (std::int64_t group = 0; group < groups; ++group) {
    std::vector<std::int32_t> prompt = random_prompt(tokens, static_cast<std::uint64_t>(group), scale);
    if (shared) {
      prompt.front() = id_of(16 * group, scale);
      load.requests.push_back({std::move(prompt), 16, tokens});
      continue;
    }
    for (std::int64_t i = 0; i < 16; ++i) {
      prompt.front() = id_of(16 * group + i, scale);
      load.requests.push_back({prompt, 1, tokens});
    }
  }
  return load;
}

RolloutLoad decode_load(const LoadScale& scale, std::int64_t batch) {
  check(scale);
  RolloutLoad load{"decode", fmt::format("batch {}", batch), false, {}};
  // Two tokens out at least: the first comes from the prompt.
  for (std::int64_t i = 0; i < batch; ++i) {
    load.requests.push_back({random_prompt(scaled(128, scale), static_cast<std::uint64_t>(100 + i), scale), 1,
                             std::max<std::int64_t>(2, scaled(256, scale))});
  }
  return load;
}

RolloutLoad prefill_load(const LoadScale& scale) {
  check(scale);
  RolloutLoad load{"prefill", "", false, {}};
  for (std::int64_t i = 0; i < scaled(64, scale); ++i) {
    load.requests.push_back(
        {random_prompt(scaled(1024, scale), static_cast<std::uint64_t>(200 + i), scale), 1, 1});
  }
  return load;
}

std::vector<RolloutLoad> rollout_loads(const std::string& name, const LoadScale& scale) {
  std::vector<RolloutLoad> out;
  const auto wanted = [&](const char* load) { return name == "all" || name == load; };
  if (wanted("nano")) out.push_back(nano_load(scale));
  if (wanted("groups")) {
    out.push_back(groups_load(scale, false));
    out.push_back(groups_load(scale, true));
  }
  if (wanted("decode")) {
    out.push_back(decode_load(scale, 1));
    out.push_back(decode_load(scale, 8));
  }
  if (wanted("prefill")) out.push_back(prefill_load(scale));
  for (RolloutLoad& load : out) {
    if (scale.sequences > 0 && load.name != "decode") keep_first(load, scale.sequences);
  }
  if (out.empty())
    throw bad_input(fmt::format("there is no load \"{}\"", name), {},
                    "use nano, groups, decode, prefill or all");
  return out;
}

}  // namespace rlcpp::bench
