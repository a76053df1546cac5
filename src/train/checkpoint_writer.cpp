#include "train/checkpoint_writer.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/wait.h"

namespace rlcpp::train {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSoft{60}, kHard{600};  // without a byte, a commit or a removal done

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

struct CheckpointWriter::State {
  State(durable::FileLayer& files, Device device, std::size_t ring_bytes, int writers, int readers)
      : images(files, device, ring_bytes, writers, readers) {}

  hub::ImageWriter images;
  std::thread thread;
  std::mutex lock;
  std::condition_variable changed;
  std::unique_ptr<hub::WriteProgress> progress;
  bool started = false, read = true, done = true;
  WriteOutcome outcome;

  void run(const Work& work, hub::WriteProgress& counters) {
    const auto begin = Clock::now();
    std::exception_ptr failure;
    const auto finished_reading = [&] {
      {
        const std::lock_guard hold(lock);
        if (read) return;
        read = true;
        outcome.read_seconds = seconds_since(begin);
      }
      changed.notify_all();
    };
    try {
      work(images, counters, finished_reading);
    } catch (...) {
      failure = std::current_exception();
    }
    finished_reading();  // if it failed: nobody reads any more
    {
      const std::lock_guard hold(lock);
      outcome.seconds = seconds_since(begin);
      outcome.committed = counters.committed;
      outcome.bytes = counters.total_bytes;
      outcome.failure = failure;
      done = true;
    }
    changed.notify_all();
  }

  std::uint64_t moved() const {
    // Who waits for room on the disk has not come to a stop.
    return progress->read_bytes + progress->written_bytes +
           static_cast<std::uint64_t>(progress->committed.load()) + durable::tries_for_room();
  }

  // Waits for `flag`. `give_up`: throws at the hard limit; otherwise the watchdog ends the process.
  void await(const bool& flag, const std::string& what, bool give_up) {
    std::unique_lock hold(lock);
    if (flag) return;
    Wait wait("the checkpoint writer", what, kSoft, kHard);
    std::uint64_t before = moved();
    while (!changed.wait_for(hold, std::chrono::milliseconds(200), [&] { return flag; })) {
      if (const std::uint64_t now = moved(); now != before) {
        wait.progress();
        before = now;
      }
      if (give_up) wait.check();
    }
  }

  void join() {
    if (thread.joinable()) thread.join();
  }
};

CheckpointWriter::CheckpointWriter(durable::FileLayer& files, Device device, std::size_t ring_bytes,
                                   int writers, int readers)
    : state_(std::make_unique<State>(files, device, ring_bytes, writers, readers)) {}

CheckpointWriter::~CheckpointWriter() {
  if (state_->started)
    state_->await(state_->done, fmt::format("step {} to be written", state_->outcome.step), false);
  state_->join();
}

std::size_t CheckpointWriter::ring_bytes() const {
  return state_->images.ring_bytes();
}

void CheckpointWriter::start(std::int64_t step, std::vector<hub::DirectoryImage> images,
                             const std::string& run_id, std::function<void()> then) {
  start(step,
        [images = std::move(images), run_id, then = std::move(then)](
            hub::ImageWriter& writer, hub::WriteProgress& progress, const std::function<void()>& on_read) {
          writer.write(images, run_id, progress, on_read);
          if (then) then();
        });
}

void CheckpointWriter::start(std::int64_t step, Work work) {
  State& s = *state_;
  RLCPP_CHECK(!s.started);
  s.join();
  s.progress = std::make_unique<hub::WriteProgress>();
  s.outcome = WriteOutcome{};
  s.outcome.step = step;
  s.started = true;
  s.read = s.done = false;
  s.thread = std::thread([&s, work = std::move(work)] { s.run(work, *s.progress); });
}

std::optional<std::int64_t> CheckpointWriter::busy() const {
  if (!state_->started) return std::nullopt;
  return state_->outcome.step;
}

double CheckpointWriter::moved() const {
  return state_->progress == nullptr ? 0.0 : static_cast<double>(state_->moved());
}

double CheckpointWriter::await_read() {
  if (!state_->started) return 0;
  const auto begin = Clock::now();
  state_->await(state_->read, fmt::format("the tensors of step {} to be copied", state_->outcome.step), true);
  return seconds_since(begin);
}

std::optional<WriteOutcome> CheckpointWriter::take() {
  State& s = *state_;
  if (!s.started) return std::nullopt;
  {
    const std::lock_guard hold(s.lock);
    if (!s.done) return std::nullopt;
  }
  s.join();
  s.started = false;
  return s.outcome;
}

WriteOutcome CheckpointWriter::wait() {
  RLCPP_CHECK(state_->started);
  state_->await(state_->done, fmt::format("step {} to be written", state_->outcome.step), true);
  return *take();
}

}  // namespace rlcpp::train
