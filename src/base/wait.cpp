#include "base/wait.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/error.h"

namespace rlcpp {
namespace {

std::atomic<std::int64_t (*)()> injected_clock{nullptr};

std::int64_t now_ms() {
  if (auto* clock = injected_clock.load(std::memory_order_acquire)) return clock();
  // Monotonic: a change of the wall clock moves no deadline.
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The waits of the process. The lock is held for an insertion, a removal or a copy of texts, never while
// something waits.
struct Registry {
  std::mutex mutex;
  std::map<std::int64_t, const Wait*> waits;
  std::int64_t next_id = 1;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

std::string seconds_text(std::int64_t ms) {
  if (ms >= 10000) return std::to_string(ms / 1000) + " s";
  return std::to_string(ms / 1000) + "." + std::to_string(ms % 1000 / 100) + " s";
}

void print_line(std::string_view text) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

}  // namespace

void set_wait_clock(std::int64_t (*clock)()) {
  injected_clock.store(clock, std::memory_order_release);
}

Wait::Wait(std::string who, std::string what, std::chrono::milliseconds soft, std::chrono::milliseconds hard)
    : who_(std::move(who)), what_(std::move(what)), soft_(soft), hard_(hard), last_progress_ms_(now_ms()) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  id_ = r.next_id++;
  r.waits.emplace(id_, this);
}

Wait::~Wait() {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.waits.erase(id_);
}

std::int64_t Wait::waited_ms() const {
  return std::max<std::int64_t>(0, now_ms() - last_progress_ms_.load(std::memory_order_relaxed));
}

void Wait::progress() {
  last_progress_ms_.store(now_ms(), std::memory_order_relaxed);
}

bool Wait::over_soft() const {
  return waited_ms() >= soft_.count();
}

void Wait::check() const {
  const std::int64_t waited = waited_ms();
  if (waited < hard_.count()) return;
  throw runtime_failure(
      "gave up waiting for " + who_ + ": " + what_,
      "nothing moved for " + seconds_text(waited) + "; the limit is " + seconds_text(hard_.count()),
      "look at the log of " + who_ + "; if it is slow on purpose, raise this limit");
}

std::string Wait::text() const {
  const std::int64_t waited = waited_ms();
  std::string text = "waiting " + seconds_text(waited) + " for " + who_ + ": " + what_;
  const std::int64_t left = hard_.count() - waited;
  text += left > 0 ? "; hard limit in " + seconds_text(left)
                   : "; over the hard limit of " + seconds_text(hard_.count());
  return text;
}

std::vector<std::string> current_waits() {
  std::vector<std::pair<std::int64_t, std::string>> found;
  Registry& r = registry();
  {
    const std::lock_guard lock(r.mutex);
    for (const auto& [id, wait] : r.waits) found.emplace_back(wait->waited_ms(), wait->text());
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> texts;
  texts.reserve(found.size());
  for (auto& [waited, text] : found) texts.push_back(std::move(text));
  return texts;
}

Watchdog::Watchdog() : Watchdog(Options{}) {}

Watchdog::Watchdog(Options options) : options_(std::move(options)) {
  if (!options_.line) options_.line = print_line;
  if (!options_.hard) {
    options_.hard = [](const std::vector<std::string>& texts) {
      print_line("error: a wait passed its hard limit; this process ends");
      for (const std::string& text : texts) print_line("  " + text);
      std::fflush(nullptr);
      _exit(static_cast<int>(ExitCode::kFailed));  // no destructors: one of them may wait for the same party
    };
  }
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, options_.period, [this] { return stop_; })) {
      lock.unlock();
      look();
      lock.lock();
    }
  });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::look() {
  const std::lock_guard look_lock(look_mutex_);
  std::vector<std::string> lines, guilty;
  {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    std::erase_if(seen_, [&](const auto& entry) { return !r.waits.contains(entry.first); });
    for (const auto& [id, wait] : r.waits) {
      const std::int64_t progress = wait->last_progress_ms_.load(std::memory_order_relaxed);
      auto [entry, fresh] = seen_.try_emplace(id);
      Seen& seen = entry->second;
      if (fresh || seen.last_progress_ms != progress) {
        seen = {progress, std::max<std::int64_t>(1, wait->soft_.count()), false};
      }
      const std::int64_t waited = wait->waited_ms();
      if (waited >= wait->hard_.count() + options_.grace.count() && !seen.ended) {
        seen.ended = true;
        guilty.push_back(wait->text());
      } else if (waited >= seen.next_line_ms) {
        while (seen.next_line_ms <= waited) seen.next_line_ms *= 2;
        lines.push_back(wait->text());
      }
    }
  }
  // Outside the lock: a handler may well ask for current_waits().
  for (const std::string& line : lines) options_.line(line);
  if (guilty.empty()) return;
  for (std::string& text : current_waits()) {
    if (std::find(guilty.begin(), guilty.end(), text) == guilty.end()) guilty.push_back(std::move(text));
  }
  options_.hard(guilty);
}

}  // namespace rlcpp
