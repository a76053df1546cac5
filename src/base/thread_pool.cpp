#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace rlcpp {
namespace {

int cores_of_this_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

// Loops of a training step follow each other within microseconds; sleeping between them would cost more than
// the loops. After this many polls a worker goes to sleep, so that an idle process uses no processor time.
constexpr int kPollsBeforeSleep = 20000;

// Lower half of a ticket that lets nobody take a task.
constexpr std::uint64_t kClosed = 0xffffffffU;

constexpr std::uint32_t loop_of(std::uint64_t ticket) {
  return static_cast<std::uint32_t>(ticket >> 32);
}
constexpr std::int64_t index_of(std::uint64_t ticket) {
  return static_cast<std::int64_t>(ticket & kClosed);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = cores_of_this_process();
  workers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_one(std::int64_t index) {
  try {
    (*task_)(index);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_ || index < failed_index_) {
      failure_ = std::current_exception();
      failed_index_ = index;
    }
  }
}

void ThreadPool::run_tasks(std::uint32_t loop) {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  for (;;) {
    if (loop_of(ticket) != loop) return;
    // A count of the next loop would be read only after that loop closed the ticket, and then the exchange
    // fails.
    const std::int64_t count = count_.load(std::memory_order_acquire);
    const std::int64_t index = index_of(ticket);
    if (index >= count) return;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
      continue;
    }
    run_one(index);
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      const std::lock_guard lock(mutex_);
      finished_.notify_one();
    }
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work() {
  std::uint32_t seen = 0;
  for (;;) {
    const auto called = [&] {
      const std::uint64_t ticket = ticket_.load();
      return stop_.load() || (loop_of(ticket) != seen && index_of(ticket) != index_of(kClosed));
    };
    for (int polls = 0; !called() && polls < kPollsBeforeSleep; ++polls) __builtin_ia32_pause();
    if (!called()) {
      std::unique_lock lock(mutex_);
      ++sleepers_;  // before the last look at the ticket: whoever opens it later sees the sleeper
      wake_.wait(lock, called);
      --sleepers_;
    }
    if (stop_) return;
    seen = loop_of(ticket_.load(std::memory_order_acquire));
    run_tasks(seen);
  }
}

void ThreadPool::await_tasks(std::int64_t count) {
  const auto all_done = [&] { return done_.load(std::memory_order_acquire) == count; };
  for (int polls = 0; !all_done() && polls < kPollsBeforeSleep; ++polls) __builtin_ia32_pause();
  if (all_done()) return;
  std::unique_lock lock(mutex_);
  finished_.wait(lock, all_done);
}

void ThreadPool::parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  if (count <= 0) return;
  RLCPP_CHECK(count < static_cast<std::int64_t>(kClosed));
  // Checked for every count and pool size: a nested loop must not work on one core and hang on two.
  RLCPP_CHECK(!in_use_.exchange(true, std::memory_order_acquire));
  struct Release {
    std::atomic<bool>& flag;
    ~Release() { flag.store(false, std::memory_order_release); }
  } release{in_use_};
  if (workers_.empty() || count == 1) {
    task_ = &task;
    failure_ = nullptr;
    for (std::int64_t i = 0; i < count; ++i) run_one(i);
  } else {
    const std::uint32_t loop = loop_of(ticket_.load(std::memory_order_relaxed)) + 1;
    ticket_.store((std::uint64_t{loop} << 32) | kClosed);
    count_.store(count, std::memory_order_release);
    done_.store(0, std::memory_order_relaxed);
    task_ = &task;
    failure_ = nullptr;
    ticket_.store(std::uint64_t{loop} << 32);
    if (sleepers_.load() > 0) {
      { const std::lock_guard lock(mutex_); }  // one about to sleep has gone to sleep now
      wake_.notify_all();
    }
    run_tasks(loop);
    await_tasks(count);
  }
  task_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace rlcpp
