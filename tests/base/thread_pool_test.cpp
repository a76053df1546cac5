#include "base/thread_pool.h"

#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "support.h"

namespace rlcpp {
namespace {

class ThreadPools : public testing::TestWithParam<int> {};

TEST_P(ThreadPools, RunEveryTaskExactlyOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.size(), GetParam());
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 300; ++round) {
    const auto count = static_cast<std::int64_t>(random() % (round % 3 == 0 ? 3 : 200));
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
    pool.parallel_for(count, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const auto& run : runs) ASSERT_EQ(run, 1);
  }
  pool.parallel_for(0, [](std::int64_t) { FAIL(); });
  pool.parallel_for(-3, [](std::int64_t) { FAIL(); });
}

// The first in index order, so that a message does not depend on which thread was faster; all others still
// run.
TEST_P(ThreadPools, ThrowTheFirstFailureByIndexAfterAllTasksEnded) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran{0};
    try {
      pool.parallel_for(64, [&](std::int64_t i) {
        ++ran;
        if (i % 10 == 7) throw std::runtime_error("task " + std::to_string(i));
      });
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "task 7");
    }
    EXPECT_EQ(ran, 64);
    // The pool is as good as new, and the old failure is not thrown again.
    std::atomic<int> after{0};
    EXPECT_NO_THROW(pool.parallel_for(5, [&](std::int64_t) { ++after; }));
    EXPECT_EQ(after, 5);
  }
}

TEST_P(ThreadPools, ASingleTaskThatThrowsDoesSoToo) {
  ThreadPool pool(GetParam());
  EXPECT_THROW(pool.parallel_for(1, [](std::int64_t) { throw std::runtime_error("x"); }), std::runtime_error);
  EXPECT_NO_THROW(pool.parallel_for(1, [](std::int64_t) {}));
}

TEST_P(ThreadPools, RefuseToBeUsedFromTheirOwnTasks) {
  ThreadPool pool(GetParam()), inner(2);
  for (const std::int64_t count : {1, 4}) {
    EXPECT_THROW(pool.parallel_for(count, [&](std::int64_t) { pool.parallel_for(2, [](std::int64_t) {}); }),
                 Error);
  }
  // Another pool is fine, one caller at a time.
  std::mutex mutex;
  std::atomic<int> ran{0};
  pool.parallel_for(8, [&](std::int64_t) {
    const std::lock_guard lock(mutex);
    inner.parallel_for(4, [&](std::int64_t) { ++ran; });
  });
  EXPECT_EQ(ran, 32);
}

TEST_P(ThreadPools, GiveTheSameSumsWhateverTheirSize) {
  std::vector<float> values(100003);
  std::mt19937_64 random(test::fresh_seed());
  for (float& value : values) value = static_cast<float>(random() % 1000) * 1.37e-3F;
  const auto sum_with = [&](ThreadPool& pool) {
    constexpr std::int64_t kTasks = 17;
    std::vector<float> partial(kTasks, 0);
    pool.parallel_for(kTasks, [&](std::int64_t task) {
      for (std::size_t i = static_cast<std::size_t>(task); i < values.size(); i += kTasks) {
        partial[static_cast<std::size_t>(task)] += values[i];
      }
    });
    return std::accumulate(partial.begin(), partial.end(), 0.0F);
  };
  ThreadPool one(1), pool(GetParam());
  EXPECT_EQ(sum_with(one), sum_with(pool));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPools, testing::Values(1, 2, 3, 8));

TEST(ThreadPool, SleepsAndWakesBetweenLoops) {
  ThreadPool pool(4);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ran{0};
    pool.parallel_for(9, [&](std::int64_t) { ++ran; });
    EXPECT_EQ(ran, 9);
    // Long enough for the workers to stop polling.
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST(ThreadPool, CanBeMadeAndDestroyedAtAnyMoment) {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(1 + round % 5);
    if (round % 3 == 0) continue;  // never used
    std::atomic<int> ran{0};
    pool.parallel_for(round, [&](std::int64_t) { ++ran; });
    EXPECT_EQ(ran, round);
  }
  EXPECT_GE(ThreadPool().size(), 1);
}

}  // namespace
}  // namespace rlcpp
