// A fixed set of threads for data-parallel loops. Work is split into tasks whose boundaries never depend on
// the number of threads, so results do not either: a task owns its outputs, and reductions go through
// per-task partial results that are added in task order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rlcpp {

class ThreadPool {
 public:
  // threads = 0: one for each core that this process may run on. The calling thread is one of them.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs task(i) for i in [0, count) on all threads and returns when all are done. It waits for tasks, never
  // for threads: on a busy machine a worker that gets no core leaves its share to the others. Tasks are taken
  // in index order, whichever thread is free. All of them run even if one throws; then the exception of the
  // lowest index is thrown again here. Not reentrant: a task that calls parallel_for on the same pool gets an
  // Error (another pool is fine).
  void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& task);

 private:
  void work();
  void run_tasks(std::uint32_t loop);
  void run_one(std::int64_t index);
  void await_tasks(std::int64_t count);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable finished_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  // Number of the loop in the upper half, the next task to be taken in the lower: a task is taken by raising
  // the word by one, which fails if the loop has become another.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<std::int64_t> count_{0};
  std::atomic<std::int64_t> done_{0};
  std::atomic<int> sleepers_{0};
  std::exception_ptr failure_;
  std::int64_t failed_index_ = 0;
  std::atomic<bool> in_use_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace rlcpp
