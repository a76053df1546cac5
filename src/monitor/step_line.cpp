#include "monitor/step_line.h"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>

#include "monitor/console.h"

namespace rlcpp::monitor {
namespace {

// Of 160, what the log's "12:03:11 INFO " leaves.
constexpr std::size_t kMaxColumns = 145;

// The text of a finite value, "-" otherwise; right-aligned so that columns stand still.
std::string cell(const char* form, double value, int width = 0) {
  return fmt::format("{:>{}}", std::isfinite(value) ? fmt::format(fmt::runtime(form), value) : "-", width);
}

std::string percent(double share, const char* form, int width) {
  return cell(form, share * 100, width);
}

// Fixed notation where it is readable, else an exponent: a diverging loss must not push the line over its
// width.
std::string number(double value, int decimals, int width) {
  const bool plain = std::abs(value) < std::pow(10.0, width - decimals - 1);
  return cell(plain ? (decimals == 4   ? "{:.4f}"
                       : decimals == 3 ? "{:.3f}"
                                       : "{:.2f}")
                    : "{:.1e}",
              value, width);
}

std::string step_of(std::int64_t step, std::int64_t max_steps) {
  if (max_steps < 0) return fmt::format("step {}", step);
  const std::string end = std::to_string(max_steps);
  return fmt::format("step {:>{}}/{}", step, end.size(), end);
}

std::string seconds_of(double seconds) {
  if (!std::isfinite(seconds)) return "- s";
  if (seconds >= 1000) return duration(seconds);
  return seconds < 1 ? fmt::format("{:.2f} s", seconds) : fmt::format("{:.1f} s", seconds);
}

}  // namespace

std::string step_line(const TrainLine& line) {
  return fmt::format("{}  loss {}  grad {}  lr {}  {:>6} tok/s{}  mem {:>8}  {}  eta {}",
                     step_of(line.step, line.max_steps), number(line.loss, 4, 7),
                     number(line.grad_norm, 2, 6), cell("{:.1e}", line.lr, 7),
                     compact(line.tokens_per_second),
                     std::isfinite(line.mfu) ? fmt::format("  mfu {}%", percent(line.mfu, "{:.1f}", 4)) : "",
                     gib(line.memory_bytes), seconds_of(line.seconds), line.eta);
}

std::string step_line(const RolloutLine& line) {
  const std::string step = step_of(line.step, line.max_steps), reward = number(line.reward, 3, 5);
  const std::string change = cell("{:+.3f}", line.reward_change, 6);
  const std::string kl = line.mismatch_kl == 0 ? "0" : cell("{:.0e}", line.mismatch_kl);
  const std::string quality =
      fmt::format("kl {}  ent {}  len {}  trunc {}%", kl, number(line.entropy, 2, 5),
                  compact(std::round(line.length)), percent(line.truncated, "{:.0f}", 1));
  const std::string groups = compact(line.groups), all = compact(line.groups_all),
                    none = compact(line.groups_none);
  const auto times = [&](const std::string& publish, double wait) {
    return fmt::format("gen {}% train {}% {}wait {}%  {}  eta {}", percent(line.generate, "{:.0f}", 1),
                       percent(line.train, "{:.0f}", 1), publish, percent(wait, "{:.0f}", 1),
                       seconds_of(line.seconds), line.eta);
  };
  const std::string time = times(
      line.publish >= 0.005 ? fmt::format("pub {}% ", percent(line.publish, "{:.0f}", 1)) : "", line.wait);
  std::string text = fmt::format("{}  reward {} ({})  {}  groups {}: {} all, {} none  {}", step, reward,
                                 change, quality, groups, all, none, time);
  // Long runs with many groups: give up words before digits, and the change of the reward last.
  if (text.size() > kMaxColumns) {
    text = fmt::format("{}  reward {} ({})  {}  grp {}: {}/{}  {}", step, reward, change, quality, groups,
                       all, none, time);
  }
  if (text.size() > kMaxColumns) {
    text =
        fmt::format("{}  reward {}  {}  grp {}: {}/{}  {}", step, reward, quality, groups, all, none, time);
  }
  if (text.size() > kMaxColumns) {
    text = fmt::format("{}  reward {}  {}  grp {}: {}/{}  {}", step, reward, quality, groups, all, none,
                       times("", line.wait + line.publish));
  }
  return text;
}

}  // namespace rlcpp::monitor
