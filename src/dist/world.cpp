#include "dist/world.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/signals.h"
#include "dist/carriers.h"
#include "dist/channel.h"
#include "dist/cuda/nccl.h"

namespace rlcpp::dist {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPeriod{50};

const failpoint::Registration kJoinPoints{"dist.join"};

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

void print_and_leave(const std::string& text, ExitCode code) {
  std::fprintf(stderr, "%s\n", text.c_str());
  std::fflush(nullptr);
  _exit(static_cast<int>(code));  // no destructors: one of them may be what hangs
}

}  // namespace

World::World(WorldOptions options)
    : options_(std::move(options)),
      roll_(size()),
      collective_limit_ms_(options_.deadlines.collective.count()) {
  if (!options_.leave) options_.leave = print_and_leave;
  const Launch& launch = options_.launch;
  joined_.resize(static_cast<std::size_t>(local_ranks()));
  RLCPP_CHECK(local_ranks() >= 1 && launch.process >= 0 && launch.process < launch.processes);
  for (int i = 0; i < local_ranks(); ++i) {
    const Device device = device_of(i);
    roll_.describe(
        first_rank() + i,
        fmt::format("{}, pid {}{}", host_name(), ::getpid(),
                    device.kind == DeviceKind::kCuda ? fmt::format(", cuda:{}", device.index) : ""));
    roll_.arrive(first_rank() + i);
  }
  const bool gpu = options_.device == DeviceKind::kCuda && options_.carrier == Carrier::kAuto && size() > 1;
  if (!gpu && options_.carrier == Carrier::kAuto && launch.processes > 1 && local_ranks() > 1) {
    throw bad_input("CPU ranks are threads of one process, or processes of one rank each",
                    fmt::format("{} processes of {} ranks were asked for", launch.processes, local_ranks()),
                    "give each process one device, or start one process");
  }
  if (gpu && launch.process == 0) nccl_id_ = cuda::nccl_unique_id();
  if (launch.processes == 1) team_ = std::make_shared<ThreadTeam>(size());
  if (launch.processes > 1) {
    channel_ = std::make_unique<Channel>(launch, roll_, nccl_id_, options_.meeting, options_.deadlines.start,
                                         [this](const Fault& fault) { fail(fault); });
  }
  watch_ = std::thread([this] { watch(); });
}

World::~World() {
  for (int i = 0; i < local_ranks(); ++i) {
    const int rank = first_rank() + i;
    if (channel_ && !failed() && !joined_[static_cast<std::size_t>(i)]) {
      channel_->failed({fmt::format("rank {} ({}) left before it joined", rank, roll_.place(rank)), "",
                        "look at the end of its log: it failed with an error of its own"});
    }
    roll_.leave(rank);
    if (channel_) channel_->left(rank);
  }
  {
    const std::lock_guard lock(stop_mutex_);
    stop_ = true;
  }
  stop_wake_.notify_all();
  {
    std::unique_lock lock(stop_mutex_);
    if (!stop_wake_.wait_for(lock, options_.deadlines.leave, [this] { return watch_ended_; })) {
      lock.unlock();
      leave_now();  // it is stuck in a driver
    }
  }
  watch_.join();
  if (channel_) channel_->drain(milliseconds(1000));
}

Device World::device_of(int local) const {
  if (options_.device == DeviceKind::kCpu) return {};
  return {DeviceKind::kCuda, options_.launch.devices[static_cast<std::size_t>(local)]};
}

std::unique_ptr<Communicator> World::join(int local) {
  RLCPP_CHECK(local >= 0 && local < local_ranks() && options_.carrier == Carrier::kAuto);
  const int rank = first_rank() + local;
  failpoint::hit("dist.join");
  try {
    std::unique_ptr<Communicator> made = make(rank, device_of(local));
    enlist(*made);
    return made;
  } catch (const Error& error) {
    // The others wait for this rank in the same call.
    if (!failed()) {
      fail({fmt::format("rank {} ({}) could not join: {}", rank, roll_.place(rank), error.what()),
            error.because(), error.help()});
    }
    throw;
  }
}

std::unique_ptr<Communicator> World::make(int rank, Device device) {
  if (size() == 1) return make_solo(*this, rank, device);
  if (device.kind == DeviceKind::kCuda) return cuda::make_nccl(*this, rank, device, nccl_id_);
  if (options_.launch.processes == 1) return make_threads(*this, rank, team_);
  return make_mpi(*this, rank, options_.mpi_plugin);
}

void World::check() const {
  if (!failed()) return;
  const std::lock_guard lock(fault_mutex_);
  throw error_of(*fault_);
}

Fault World::failure_of(int rank, const std::string& error) const {
  const Roll::Row row = roll_.row(rank);
  return {fmt::format("rank {} ({}) failed: {}", rank, roll_.place(rank), error),
          fmt::format("it had completed #{} and entered last: {}", row.completed, text_of(row.last)),
          "look at its log; nvidia-smi and the system's log show a GPU with errors"};
}

void World::fail(const Fault& fault) {
  {
    const std::lock_guard lock(fault_mutex_);
    if (fault_) return;
    fault_ = fault;
    leave_at_ = Clock::now() + options_.deadlines.leave;
  }
  failed_.store(true, std::memory_order_release);
  if (channel_) channel_->failed(fault);
  // Each abort on a thread of its own: it may hang itself, and then the deadline to leave counts.
  const std::lock_guard lock(members_mutex_);
  for (Communicator* member : members_) {
    if (auto action = member->abort_action()) std::thread(std::move(action)).detach();
  }
}

void World::leave_now() {
  std::string text = "error: this process leaves without cleaning up";
  ExitCode code = ExitCode::kFailed;
  {
    const std::lock_guard lock(fault_mutex_);
    if (fault_) text = error_of(*fault_).render();
    if (fault_) code = fault_->code;
  }
  options_.leave(text, code);
}

void World::enlist(Communicator& communicator) {
  const std::lock_guard lock(members_mutex_);
  members_.push_back(&communicator);
  joined_[static_cast<std::size_t>(communicator.rank() - first_rank())] = true;
}

void World::dismiss(Communicator& communicator) noexcept {
  const std::lock_guard lock(members_mutex_);
  if (std::erase(members_, &communicator) == 0) return;  // its constructor failed
  roll_.leave(communicator.rank());
  if (channel_) channel_->left(communicator.rank());
}

void World::enter(int rank, const Entry& entry, bool begun) {
  roll_.enter(rank, entry);
  if (begun) roll_.begin(rank, entry.sequence);
  if (channel_) channel_->entered(rank, entry);
  if (const auto fault = roll_.fault()) {
    fail(*fault);
    check();
  }
}

void World::begin(int rank, std::uint64_t sequence) {
  roll_.begin(rank, sequence);
}

void World::complete(int rank, std::uint64_t sequence) {
  roll_.complete(rank, sequence);
}

void World::watch() {
  std::unique_lock lock(stop_mutex_);
  while (!stop_) {
    if (channel_) {
      lock.unlock();
      channel_->pump(kPeriod);
      lock.lock();
    } else {
      stop_wake_.wait_for(lock, kPeriod, [this] { return stop_; });
    }
    if (stop_) break;
    lock.unlock();
    look();
    lock.lock();
  }
  watch_ended_ = true;
  stop_wake_.notify_all();
}

void World::look() {
  std::optional<Fault> broken;
  {
    const std::lock_guard lock(members_mutex_);
    for (Communicator* member : members_) {
      if (member->synchronous() || failed()) continue;
      const Communicator::Progress progress = member->observe();
      roll_.begin(member->rank(), progress.begun);
      roll_.complete(member->rank(), progress.completed);
      if (progress.error.empty() || broken) continue;
      broken = failure_of(member->rank(), progress.error);
    }
  }
  if (broken) fail(*broken);
  if (const auto fault = roll_.fault(); fault && !failed()) fail(*fault);
  const milliseconds limit(collective_limit_ms_.load());
  for (int rank = first_rank(); rank < first_rank() + local_ranks() && !failed(); ++rank) {
    const auto pending = roll_.pending(rank);
    if (!pending || pending->waited < milliseconds(1000)) spoken_.erase(rank);
    if (!pending) continue;
    if (pending->waited >= limit) {
      fail({fmt::format("rank {} gave up {}: it waited {:.1f} s for: {}", rank, text_of(pending->entry),
                        static_cast<double>(pending->waited.count()) / 1000,
                        roll_.awaited(pending->entry.sequence)),
            fmt::format("the limit is {:.1f} s without progress", static_cast<double>(limit.count()) / 1000),
            "look at the log of the rank that is awaited; if it is slow on purpose, raise the limit"});
    } else if (pending->waited >= milliseconds(1000)) {
      speak(rank, *pending);
    }
  }
  look_for_idleness();
  if (!failed()) return;
  spoken_.clear();
  {
    const std::lock_guard lock(fault_mutex_);
    if (!leave_at_) return;
    if (stop_signal() != 0)
      leave_at_ = std::min(*leave_at_, Clock::now() + options_.deadlines.leave_on_signal);
    if (Clock::now() < *leave_at_) return;
    leave_at_.reset();
  }
  leave_now();
}

// Ranks that all stand still outside of collectives wait for nobody, so no collective's deadline finds them.
void World::look_for_idleness() {
  const Deadlines& limits = options_.deadlines;
  const milliseconds idle = roll_.idle();
  bool watched = !failed() && size() > 1 && idle >= milliseconds(1000);
  for (int rank = 0; watched && rank < size(); ++rank) watched = !roll_.pending(rank).has_value();
  if (watched) {
    // Before all have joined, and once one has left in order, there are other deadlines.
    const std::lock_guard lock(members_mutex_);
    watched = members_.size() == static_cast<std::size_t>(local_ranks());
  }
  if (!watched) {
    idle_.reset();
  } else if (idle >= limits.idle) {
    idle_.reset();
    fail({fmt::format("no rank did anything for {:.1f} s: {}", static_cast<double>(idle.count()) / 1000,
                      roll_.everyone()),
          fmt::format("the limit is {:.1f} s (dist.idle_timeout)",
                      static_cast<double>(limits.idle.count()) / 1000),
          "look at what they were doing: data that ends nowhere, a disk or a device that does not answer; "
          "if it is slow on purpose, raise the limit"});
  } else if (idle_ == nullptr) {
    idle_ = std::make_unique<Wait>(fmt::format("any of {} ranks to go on", size()), roll_.everyone(),
                                   std::max(milliseconds(1), limits.soft - idle), limits.idle + limits.leave);
  }
}

// A long collective is a wait like any other (base/wait.h): listed, spoken of at the soft limit, and ended by
// the process's own watchdog should this thread be stuck in the driver.
void World::speak(int rank, const Roll::Pending& pending) {
  std::unique_ptr<Wait>& wait = spoken_[rank];
  if (wait) return;
  const Deadlines& limits = options_.deadlines;
  const auto soft = std::max(milliseconds(1), limits.soft - pending.waited);
  wait = std::make_unique<Wait>(roll_.awaited(pending.entry.sequence),
                                fmt::format("rank {} is in {}", rank, text_of(pending.entry)), soft,
                                milliseconds(collective_limit_ms_.load()) + limits.leave);
}

}  // namespace rlcpp::dist
