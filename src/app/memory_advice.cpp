#include "app/memory_advice.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/run_lora.h"
#include "base/error.h"
#include "monitor/console.h"

namespace rlcpp::app {
namespace {

// One form of a change: its flag, what it costs, and the change.
struct Level {
  std::string flag, cost;
  std::function<void(Plannable&)> apply;
  bool same = true;  // the result is the same, bit for bit on the CPU
};
// Forms of one change, mildest first.
using Option = std::vector<Level>;

constexpr std::size_t kMostCombinations = 3;
constexpr const char* kNone = "no change";  // how the line begins that stands alone where nothing fits

std::string amount(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  return value >= 0x1p30 ? monitor::gib(value) : fmt::format("{:.2f} MiB", value / 0x1p20);
}

Option halvings(const std::string& flag, const std::string& cost, std::int64_t from, std::int64_t least,
                std::int64_t Plannable::*member, bool same) {
  Option option;
  for (std::int64_t value = from / 2; value >= least; value /= 2) {
    option.push_back({fmt::format("{} {}", flag, value), cost,
                      [member, value](Plannable& p) { p.*member = value; }, same});
  }
  return option;
}

Option recompute_levels(const Plannable& now, const std::string& model, bool gpu) {
  using model::Recompute;
  const auto mode = [](const char* name) {
    return [name](Plannable& p) {
      p.model.ac.emplace().mode = name;
      p.model.ac_offloading.reset();
    };
  };
  const Recompute policy = now.model.recompute();
  Option option;
  if (policy == Recompute::kNone)
    option.push_back({model + "ac.mode selective", "about 2 % slower", mode("selective")});
  if (policy == Recompute::kNone || policy == Recompute::kSelective)
    option.push_back({model + "ac.mode attention", "about 9 % slower", mode("attention")});
  if (policy == Recompute::kNone || policy == Recompute::kSelective || policy == Recompute::kAttention)
    option.push_back({model + "ac.mode full", "about 15 % slower", mode("full")});
  if (!model::offloads(policy) && gpu) {
    const bool other = policy == Recompute::kSelective || policy == Recompute::kAttention;
    const std::string with = other ? " " + model + "ac.mode full" : "";
    const auto offload = [](bool attention) {
      return [attention](Plannable& p) {
        p.model.ac_offloading.emplace().attention = attention;
        if (p.model.ac.has_value()) p.model.ac->mode = "full";
      };
    };
    option.push_back(
        {model + "ac-offloading.attention" + with,
         "about 10 % slower, and with long rows faster than ac.mode full: block inputs and what attention "
         "gives in host memory",
         offload(true)});
    option.push_back(
        {model + "ac-offloading" + with, "about 15 % slower: block inputs in host memory", offload(false)});
  }
  return option;
}

std::vector<Option> options_of(const Plannable& now, const AdviceKeys& keys, Device device) {
  const bool gpu = device.kind == DeviceKind::kCuda;
  std::vector<Option> options;
  const auto add = [&](Option option) {
    if (!option.empty()) options.push_back(std::move(option));
  };
  if (now.micro_batch_size > 1) {
    add({{"--data.micro-batch-size 1", "little slower", [](Plannable& p) { p.micro_batch_size = 1; }}});
  }
  add(halvings("--inference.num-pages", "fewer completions at once", now.num_pages, keys.least_pages,
               &Plannable::num_pages, true));
  add(halvings("--inference.max-batch-tokens", "smaller forwards of the engine", now.max_batch_tokens,
               keys.least_batch_tokens, &Plannable::max_batch_tokens, true));
  Option chunks;
  for (std::int64_t rows = now.model.head_chunk.value_or(gpu ? 2048 : 256) / 2; rows >= 64; rows /= 2) {
    chunks.push_back({fmt::format("{}fused-lm-head-token-chunk-size {}", keys.model, rows),
                      gpu ? "a slower head" : "little slower",
                      [rows](Plannable& p) { p.model.head_chunk = rows; }});
  }
  add(std::move(chunks));
  add(recompute_levels(now, keys.model, gpu));
  const bool small = now.optim.moments == "bfloat16";
  if (gpu && !now.model.optim_cpu_offload) {
    // Both ways at once, each at about half of 90 GB/s (docs/performance.md).
    const double bytes = static_cast<double>(keys.parameters) * (small ? 8 : 12);
    add({{keys.model + "optim-cpu-offload", fmt::format("about {:.2f} s more a step", bytes / 45e9),
          [](Plannable& p) { p.model.optim_cpu_offload = true; }}});
  }
  if (gpu && !small) {
    add({{keys.optim + "moments bfloat16", "as fast, moments rounded: another result",
          [](Plannable& p) { p.optim.moments = "bfloat16"; }, false}});
  }
  return options;
}

// What trains something else comes after everything that does not.
Option adapters_instead(const Plannable& now, const AdviceKeys& keys) {
  if (!now.model.lora.has_value()) {
    return {{keys.model + "lora.rank 16", "adapters alone are trained",
             [](Plannable& p) { p.model.lora.emplace(); }, false}};
  }
  Option option;
  for (std::int64_t rank = now.model.lora->rank / 2; rank >= 1; rank /= 2) {
    option.push_back({fmt::format("{}lora.rank {}", keys.model, rank), "smaller adapters: another result",
                      [rank](Plannable& p) { p.model.lora->rank = rank; }, false});
  }
  return option;
}
Option shorter_rows(const Plannable& now, const AdviceKeys& keys) {
  return halvings(keys.seq_len, keys.seq_len_cost, now.seq_len, keys.least_seq_len, &Plannable::seq_len,
                  keys.shorter_is_same);
}

class Search {
 public:
  Search(const Plannable& now, const AdviceKeys& keys, const MemoryLimits& limits,
         const std::function<MemoryPlan(const Plannable&)>& plan, const std::vector<Option>& options)
      : now_(now), keys_(keys), limits_(limits), plan_(plan), options_(options) {}

  // Lines for the sets of `size` options whose mildest fitting forms were found, at most `most` of them.
  std::vector<std::string> of_size(std::size_t size, std::size_t most) {
    lines_.clear();
    most_ = most;
    std::vector<std::size_t> set;
    choose(size, 0, set);
    return lines_;
  }

  // The smallest plan of all: everything that makes it smaller, in its strongest form.
  struct Smallest {
    bool fits = false;
    std::string text;
  };
  Smallest smallest() const {
    Plannable config = now_;
    std::optional<MemoryPlan> best = try_plan(config);
    std::vector<std::string> flags;
    for (const Option& option : options_) {
      for (auto level = option.rbegin(); level != option.rend(); ++level) {
        Plannable changed = config;
        level->apply(changed);
        std::optional<MemoryPlan> smaller = try_plan(changed);
        if (!smaller.has_value() || (limits_.host > 0 && smaller->host_bytes() > limits_.host)) continue;
        if (best.has_value() && smaller->total_bytes() >= best->total_bytes()) continue;
        best = std::move(smaller);
        config = changed;
        flags.push_back(level->flag);
        break;
      }
    }
    if (!best.has_value() || flags.empty())
      return {false, fmt::format("{} of the configuration makes it smaller", kNone)};
    std::string text = fmt::format("{} makes it fit; the smallest plan is {} with {}", kNone,
                                   size_text(*best), fmt::join(flags, " "));
    if (const std::size_t beside = beside_of(config); beside > 0)
      text += fmt::format(", and {} of rows are beside it", amount(beside));
    return {fits(config, *best), text};
  }

 private:
  // Bytes of the limit that are needed beside the plan of `config`.
  std::size_t beside_of(const Plannable& config) const {
    if (!keys_.rows_have_seq_len || config.seq_len >= now_.seq_len) return limits_.beside;
    return static_cast<std::size_t>(static_cast<double>(limits_.beside) *
                                    static_cast<double>(config.seq_len) / static_cast<double>(now_.seq_len));
  }
  bool fits_device(const Plannable& config, const MemoryPlan& plan) const {
    const std::size_t beside = beside_of(config);
    return limits_.limit == 0 || (beside <= limits_.limit && plan.total_bytes() <= limits_.limit - beside);
  }
  bool fits(const Plannable& config, const MemoryPlan& plan) const {
    return limits_.fits(plan) && fits_device(config, plan);
  }

  std::optional<MemoryPlan> try_plan(const Plannable& config) const {
    try {
      return plan_(config);
    } catch (const Error&) {
      return std::nullopt;  // a configuration that cannot be
    }
  }

  void choose(std::size_t size, std::size_t from, std::vector<std::size_t>& set) {
    if (set.size() == size) {
      std::vector<std::size_t> levels;
      if (strongest_fits(set)) mildest(set, levels);
      return;
    }
    for (std::size_t i = from; i < options_.size() && lines_.size() < most_; ++i) {
      set.push_back(i);
      choose(size, i + 1, set);
      set.pop_back();
    }
  }

  // False: no forms of these options are enough. A look ahead that spares most of the search.
  bool strongest_fits(const std::vector<std::size_t>& set) const {
    Plannable config = now_;
    for (const std::size_t option : set) options_[option].back().apply(config);
    const std::optional<MemoryPlan> plan = try_plan(config);
    return plan.has_value() && fits_device(config, *plan);
  }

  // The first forms that fit, those of earlier options changed last. True if there are some.
  bool mildest(const std::vector<std::size_t>& set, std::vector<std::size_t>& levels) {
    if (levels.size() == set.size()) return report(set, levels);
    for (std::size_t level = 0; level < options_[set[levels.size()]].size(); ++level) {
      levels.push_back(level);
      const bool found = mildest(set, levels);
      levels.pop_back();
      if (found) return true;
    }
    return false;
  }

  bool report(const std::vector<std::size_t>& set, const std::vector<std::size_t>& levels) {
    Plannable config = now_;
    std::string flags, costs;
    bool same = true;
    for (std::size_t i = 0; i < set.size(); ++i) {
      const Level& level = options_[set[i]][levels[i]];
      level.apply(config);
      flags += (i > 0 ? " " : "") + level.flag;
      costs += (i > 0 ? ", " : "") + level.cost;
      same = same && level.same;
    }
    const std::optional<MemoryPlan> plan = try_plan(config);
    if (!plan.has_value() || !fits(config, *plan)) return false;
    lines_.push_back(
        fmt::format("{}: {}, {}{}", flags, size_text(*plan), same ? "same result, " : "", costs));
    return true;
  }

  const Plannable& now_;
  const AdviceKeys& keys_;
  const MemoryLimits& limits_;
  const std::function<MemoryPlan(const Plannable&)>& plan_;
  const std::vector<Option>& options_;
  std::vector<std::string> lines_;
  std::size_t most_ = 0;
};

}  // namespace

std::string size_text(const MemoryPlan& plan) {
  std::string device = amount(plan.total_bytes());
  if (plan.host_bytes() == 0) return device;
  return fmt::format("{} and {} of host memory", device, amount(plan.host_bytes()));
}

model::ModelConfig planned_shape(model::ModelConfig config, const Plannable& p) {
  if (p.model.lora.has_value()) {
    config.adapters = adapters_of(*p.model.lora, p.model.name);
    require_useful_rank(config);
  }
  return config;
}

MemoryLimits memory_limits(Device device, bool absent, std::size_t limit, double rows) {
  MemoryLimits out{device, limit};
  if (absent) return out;
  const std::size_t available = host_memory_available_bytes();
  const auto taken = static_cast<std::size_t>(std::min(rows, 0x1p63));
  if (device.kind == DeviceKind::kCpu) {
    out.beside = taken;
    return out;
  }
  out.host = available > taken ? available - taken : 1;
  return out;
}

std::vector<std::string> memory_advice(const Plannable& now, const AdviceKeys& keys,
                                       const MemoryLimits& limits,
                                       const std::function<MemoryPlan(const Plannable&)>& plan) {
  std::vector<Option> options = options_of(now, keys, limits.device);
  const std::vector<Option> others = {adapters_instead(now, keys), shorter_rows(now, keys)};
  const auto fewest = [&](const std::vector<Option>& of) {
    for (std::size_t size = 1; size <= of.size(); ++size) {
      Search search(now, keys, limits, plan, of);
      std::vector<std::string> lines = search.of_size(size, size == 1 ? of.size() : kMostCombinations);
      if (!lines.empty()) return lines;
    }
    return std::vector<std::string>();
  };
  std::vector<std::string> lines = fewest(options);
  for (const Option& other : others) {
    if (other.empty()) continue;
    for (std::string& line : fewest({other})) lines.push_back(std::move(line));
    options.push_back(other);
  }
  if (!lines.empty()) return lines;
  const Search::Smallest smallest = Search(now, keys, limits, plan, options).smallest();
  return smallest.fits ? fewest(options) : std::vector<std::string>{smallest.text};
}

void require_memory(const Plannable& now, const AdviceKeys& keys, const MemoryLimits& limits,
                    const std::function<MemoryPlan(const Plannable&)>& plan,
                    const std::function<std::vector<std::string>()>& more) {
  const MemoryPlan planned = plan(now);
  if (limits.fits(planned)) return;
  std::vector<std::string> lines = memory_advice(now, keys, limits, plan);
  const std::vector<std::string> others = more ? more() : std::vector<std::string>();
  if (!others.empty() && lines.size() == 1 && lines.front().starts_with(kNone)) lines.clear();
  lines.insert(lines.end(), others.begin(), others.end());
  try {
    planned.require_fits(limits.limit, lines);
  } catch (const Error& e) {
    throw Error(e.code(), e.what(), e.because() + limits.whose, e.help());
  }
  throw environment_error("the memory plan does not fit the host",
                          fmt::format("{} of host memory are planned beside the GPU's, {} are available{}",
                                      amount(planned.host_bytes()), amount(limits.host), limits.whose),
                          fmt::format("{}", fmt::join(lines, "\n        ")));
}

}  // namespace rlcpp::app
