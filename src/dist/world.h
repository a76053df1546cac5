// All ranks of a run as one process sees them: its own ranks, what is known of the others, and the watch that
// ends the run on every rank when one of them cannot go on.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/wait.h"
#include "dist/communicator.h"
#include "dist/launch.h"
#include "dist/meeting.h"
#include "dist/roll.h"

namespace rlcpp::dist {

class Channel;
class ThreadTeam;

struct Deadlines {
  std::chrono::milliseconds start{600'000};       // until all ranks have met
  std::chrono::milliseconds soft{30'000};         // a collective that takes longer is spoken of
  std::chrono::milliseconds collective{120'000};  // one without progress for longer ends the run
  std::chrono::milliseconds leave{15'000};        // from a fault to the end of the process, if it still lives
  // The same once a signal has asked the process to end too: a launcher that stops its job kills what is left
  // after a second, and the fault has to be said before.
  std::chrono::milliseconds leave_on_signal{300};
  std::chrono::milliseconds idle{1'800'000};  // without a sign of work of any rank, in no collective
};

// What carries the data. kAuto: solo for one rank, NCCL between GPUs, threads between the CPU ranks of one
// process, MPI between processes. kNone: nothing, the ranks only watch each other (tests make their own
// communicators).
enum class Carrier : std::uint8_t { kAuto, kNone };

struct WorldOptions {
  Launch launch;
  DeviceKind device = DeviceKind::kCpu;  // of all ranks
  Carrier carrier = Carrier::kAuto;
  Deadlines deadlines;
  Meeting meeting;         // with the other processes
  std::string mpi_plugin;  // path of rlcpp_mpi.so; empty: beside the binary, or ../lib from there
  // The last resort, when a fault's deadline to leave has passed. Default: the fault on stderr, then
  // _exit() with its code.
  std::function<void(const std::string&, ExitCode)> leave;
};

class World {
 public:
  // Waits until all processes have met at the launch's address; throws runtime_failure with the missing ranks
  // after deadlines.start; bad_input if processes disagree about the run or its address is none, in all of
  // them within seconds; environment_error if the address cannot be used or the carrier cannot be loaded.
  explicit World(WorldOptions options);
  // After all communicators. Never waits for another rank.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int size() const { return options_.launch.ranks(); }
  int local_ranks() const { return options_.launch.local_ranks(); }
  int first_rank() const { return options_.launch.first_rank(); }
  const Deadlines& deadlines() const { return options_.deadlines; }
  // The limit of a collective without progress from now on, in this process: around what takes longer than a
  // step, as a checkpoint or first compilations. From any thread.
  void set_collective_limit(std::chrono::milliseconds limit) { collective_limit_ms_ = limit.count(); }
  const Roll& roll() const { return roll_; }

  // The communicator of rank first_rank() + local. Collective: every rank of the run calls it once, each on
  // its own thread, which then uses the communicator.
  std::unique_ptr<Communicator> join(int local);
  Device device_of(int local) const;

  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // Throws the fault as runtime_failure if there is one. Waits of communicators poll it.
  void check() const;
  // Ends the run on all ranks. The first fault counts.
  void fail(const Fault& fault);
  // The fault of a rank whose device or library failed, with how far it had come.
  Fault failure_of(int rank, const std::string& error) const;
  // Of a rank of this process, from any thread: see Communicator::note().
  void note(int rank, std::string_view doing) { roll_.note(rank, doing); }
  // The last resort, at once: for a wait of our own that cannot be ended.
  void leave_now();

  // Of communicators.
  void enlist(Communicator& communicator);
  void dismiss(Communicator& communicator) noexcept;
  void enter(int rank, const Entry& entry, bool begun);
  void begin(int rank, std::uint64_t sequence);
  void complete(int rank, std::uint64_t sequence);

 private:
  using Clock = std::chrono::steady_clock;
  std::unique_ptr<Communicator> make(int rank, Device device);
  void watch();
  void look();
  void speak(int rank, const Roll::Pending& pending);
  void look_for_idleness();

  WorldOptions options_;
  Roll roll_;
  std::string nccl_id_;
  std::shared_ptr<ThreadTeam> team_;
  std::unique_ptr<Channel> channel_;  // null if there is one process

  std::mutex members_mutex_;
  std::vector<Communicator*> members_;
  std::vector<bool> joined_;                     // by local rank
  std::map<int, std::unique_ptr<Wait>> spoken_;  // by rank; the watch's
  std::unique_ptr<Wait> idle_;                   // while no rank does anything; the watch's

  std::atomic<std::int64_t> collective_limit_ms_;
  std::atomic<bool> failed_{false};
  mutable std::mutex fault_mutex_;
  std::optional<Fault> fault_;
  std::optional<Clock::time_point> leave_at_;

  std::mutex stop_mutex_;
  std::condition_variable stop_wake_;
  bool stop_ = false, watch_ended_ = false;
  std::thread watch_;
};

}  // namespace rlcpp::dist
