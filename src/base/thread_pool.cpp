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
    generation_.fetch_add(1, std::memory_order_release);
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

void ThreadPool::run_tasks() {
  for (std::int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) run_one(i);
}

void ThreadPool::work() {
  std::uint64_t seen = 0;
  for (;;) {
    int polls = 0;
    while (generation_.load(std::memory_order_acquire) == seen) {
      if (++polls < kPollsBeforeSleep) {
        __builtin_ia32_pause();
        continue;
      }
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
    }
    seen = generation_.load(std::memory_order_acquire);
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
    }
    run_tasks();
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard lock(mutex_);
      finished_.notify_one();
    }
  }
}

void ThreadPool::parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& task) {
  if (count <= 0) return;
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
    {
      const std::lock_guard lock(mutex_);
      task_ = &task;
      count_ = count;
      failure_ = nullptr;
      next_.store(0, std::memory_order_relaxed);
      busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    run_tasks();
    for (int polls = 0; busy_.load(std::memory_order_acquire) != 0 && polls < kPollsBeforeSleep; ++polls) {
      __builtin_ia32_pause();
    }
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return busy_.load(std::memory_order_acquire) == 0; });
  }
  task_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace rlcpp
