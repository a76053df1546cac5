#include "bench/kernels.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/wait.h"
#include "bench/statistics.h"
#include "ops/random.h"
#include "ops/stopwatch.h"
#include "tensor/copy.h"

namespace rlcpp::bench {
namespace {

constexpr std::size_t kAlignment = 256;     // of the arena's regions, which kernels lean on
constexpr std::size_t kMostPlaces = 256;    // more are not needed: each is used once a sample
constexpr double kSampleSeconds = 2e-3;     // long against the resolution of events and the first launch
constexpr std::int64_t kMostASample = 256;  // calls
constexpr std::int64_t kWarmUp = 3;         // calls at least
constexpr std::int64_t kLeastSamples = 3, kMostSamples = 200;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Where the memories of a call's operands lie in a copy: operands that begin at one address share it.
struct Layout {
  struct Part {
    const void* original;
    std::size_t bytes, offset;
  };
  std::vector<Part> parts;
  std::size_t bytes = 0;

  explicit Layout(const ops::Call& call) {
    for (const Tensor& t : call.operands) {
      if (t.empty() || t.bytes() == 0) continue;
      const auto same = std::ranges::find(parts, t.raw(), &Part::original);
      if (same == parts.end()) {
        parts.push_back({t.raw(), t.bytes(), 0});
      } else {
        same->bytes = std::max(same->bytes, t.bytes());
      }
    }
    for (Part& part : parts) {
      part.offset = bytes;
      bytes += aligned(part.bytes);
    }
  }
};

// The operands of `call` in the copy that begins at `base`, with the values that they have now.
ops::Call::Operands copied(const ops::Call& call, const Layout& layout, std::byte* base) {
  ops::Call::Operands out;
  for (const Tensor& t : call.operands) {
    if (t.empty() || t.bytes() == 0) {
      out.push_back(t);
      continue;
    }
    const auto part = std::ranges::find(layout.parts, t.raw(), &Layout::Part::original);
    const Tensor& there = out.emplace_back(base + part->offset, t.dtype(), t.shape(), t.device());
    copy(there, t);
  }
  return out;
}

// The memories that take turns.
std::vector<ops::Call::Operands> places_of(const KernelGroup& group, const Tensor& rotation) {
  std::vector<ops::Call::Operands> places;
  const Layout first(group.calls.front());
  const std::size_t room = rotation.empty() ? 0 : rotation.bytes();
  if (first.bytes == 0 || first.bytes > room / 2) {
    for (const ops::Call& call : group.calls) places.push_back(call.operands);
    return places;
  }
  auto* base = static_cast<std::byte*>(rotation.raw());
  std::size_t used = 0;
  for (std::size_t i = 0; places.size() < kMostPlaces; ++i) {
    const ops::Call& call = group.calls[i % group.calls.size()];
    const Layout layout(call);  // calls of one group may share memory among their operands differently
    if (used + layout.bytes > room) break;
    places.push_back(copied(call, layout, base + used));
    used += layout.bytes;
  }
  return places;
}

void fill(const KernelGroup& group, const std::vector<ops::Call::Operands>& places,
          const KernelOptions& options) {
  if (!options.random) return;
  std::set<const void*> filled;
  for (std::size_t p = 0; p < places.size(); ++p) {
    const ops::Call& original = group.calls[p % group.calls.size()];
    for (std::size_t i = 0; i < places[p].size(); ++i) {
      const Tensor& t = places[p][i];
      if (t.empty() || t.size() == 0 || !options.random(original.operands[i])) continue;
      if (!filled.insert(t.raw()).second) continue;
      ops::fill_normal(t, {0, filled.size()}, 1.0F, 0, options.pool);
    }
  }
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::vector<KernelGroup> group_calls(std::vector<ops::Call> calls) {
  std::vector<KernelGroup> groups;
  const auto key = [](const auto& g, const std::string& shape) {
    return std::tuple(g.name, shape, g.flops, g.bytes);
  };
  for (ops::Call& call : calls) {
    const std::string shape = fmt::format("{}", fmt::join(call.shape, " x "));
    auto at = std::ranges::find_if(groups,
                                   [&](const KernelGroup& g) { return key(g, g.shape) == key(call, shape); });
    if (at == groups.end()) {
      groups.push_back({call.name, shape, call.flops, call.bytes, {}});
      at = groups.end() - 1;
    }
    at->calls.push_back(std::move(call));
  }
  return groups;
}

KernelTime measure_group(const ops::Context& ctx, const KernelGroup& group, const KernelOptions& options) {
  RLCPP_CHECK(!group.calls.empty() && ctx.calls == nullptr);
  const std::vector<ops::Call::Operands> places = places_of(group, options.rotation);
  fill(group, places, options);
  const auto limit = std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(options.timeout * 1e3)));
  const Wait wait("the device", group.name + " " + group.shape + ", measured by itself",
                  std::chrono::seconds(60), limit);

  KernelTime out;
  out.places = static_cast<std::int64_t>(places.size());
  std::size_t next = 0;
  // Operands of copies belong to the call that they were copied from, as `again` holds sizes and constants.
  const auto once = [&] {
    group.calls[next % group.calls.size()].again(ctx, places[next % places.size()]);
    next = (next + 1) % places.size();
    ++out.repeats;
  };
  ops::Stopwatch watch(ctx);
  const auto sample = [&](std::int64_t calls) {
    if (ctx.on_gpu()) once();  // the device is at work when its clock starts: launches are ahead of it
    watch.start();
    for (std::int64_t i = 0; i < calls; ++i) once();
    const double seconds = watch.stop();
    wait.check();
    if (options.progress) options.progress();
    return seconds / static_cast<double>(calls);
  };
  sample(kWarmUp);
  const double each = std::max(sample(1), 1e-7);
  const auto count = static_cast<std::int64_t>(
      std::clamp(std::ceil(kSampleSeconds / each), 1.0, static_cast<double>(kMostASample)));
  std::vector<double> seconds;
  const double begin = now();
  while (static_cast<std::int64_t>(seconds.size()) < kMostSamples &&
         (static_cast<std::int64_t>(seconds.size()) < kLeastSamples || now() - begin < options.seconds)) {
    seconds.push_back(sample(count));
  }
  out.samples = static_cast<std::int64_t>(seconds.size());
  out.seconds = median(seconds);
  return out;
}

}  // namespace rlcpp::bench
