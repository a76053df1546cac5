// A communicator of NCCL with a stream of its own. Its calls do not block: what takes long (the first
// connection to a peer, joining, leaving) is polled, so that a missing rank is named and waited for no longer
// than the deadline. What the device has reached is read from events, two for each launch.
#include "dist/cuda/nccl.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/wait.h"
#include "dist/cuda/nccl_library.h"
#include "dist/world.h"

namespace rlcpp::dist::cuda {
namespace {

using rlcpp::cuda::check;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

const failpoint::Registration kPoints{"dist.abort"};

// Launches that may be on their way to the device; more wait on the host.
constexpr std::size_t kFlights = 512;

// The communicator as the threads share it: the rank's own, the watch, and the one that aborts, which may
// outlive the others. NCCL frees it in destroy and abort, so no call may come after them.
struct Handle {
  std::timed_mutex mutex;
  std::atomic<ncclComm_t> comm{nullptr};
  int device = 0;
  std::atomic<bool> ending{false};  // somebody aborts or destroys it
  std::atomic<bool> ended{false};
};

void abort(const std::shared_ptr<Handle>& handle) {
  if (handle->ending.exchange(true)) return;
  cudaSetDevice(handle->device);
  ncclComm_t comm = nullptr;
  {
    // A call that hangs holds the lock; NCCL's abort is made to be called beside it.
    std::unique_lock lock(handle->mutex, std::defer_lock);
    [[maybe_unused]] const bool locked = lock.try_lock_for(milliseconds(2000));
    comm = handle->comm.exchange(nullptr);
  }
  failpoint::hit("dist.abort");
  if (comm != nullptr) NcclLibrary::get().abort(comm);
  handle->ended.store(true);
}

ncclDataType_t type_of(DType type) {
  switch (type) {
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kF16:
      return ncclFloat16;
    case DType::kF64:
      return ncclFloat64;
    case DType::kI32:
      return ncclInt32;
    case DType::kI64:
      return ncclInt64;
    case DType::kU8:
      return ncclUint8;
  }
  return ncclUint8;
}

class Nccl final : public Communicator {
 public:
  Nccl(World& world, int rank, Device device, const std::string& unique_id)
      : Communicator(world, rank, device), nccl_(NcclLibrary::get()), handle_(std::make_shared<Handle>()) {
    handle_->device = device.index;
    try {
      open(unique_id);
    } catch (...) {
      close(false);
      throw;
    }
  }
  ~Nccl() override {
    depart();
    close(!world().failed());
  }
  std::string description() const override { return "nccl " + nccl_.version(); }

 private:
  // One launch: a collective, or a group of them.
  struct Flight {
    std::uint64_t first = 0, last = 0;
    cudaEvent_t begun = nullptr, done = nullptr;
  };

  bool synchronous() const override { return false; }

  void open(const std::string& unique_id) {
    int count = 0;
    const cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || device().index >= count) {
      throw environment_error(
          fmt::format("rank {} needs GPU {}, which this machine has not", rank(), device().index),
          found == cudaSuccess ? fmt::format("it has {}", count) : cudaGetErrorString(found),
          "name the GPUs with --devices; nvidia-smi lists them, CUDA_VISIBLE_DEVICES hides them");
    }
    check(cudaSetDevice(device().index), "cudaSetDevice");
    // Above the compute stream: what others wait for goes first. Not a non-blocking stream, because copies of
    // tensor/copy.h must wait for it.
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
    check(cudaStreamCreateWithPriority(&stream_, cudaStreamDefault, greatest),
          "cudaStreamCreateWithPriority");
    ready_ = new_event();
    for (Flight& flight : idle_) {
      flight.begun = new_event();
      flight.done = new_event();
    }
    word_ = rlcpp::cuda::allocate(sizeof(int), device());
    rlcpp::cuda::fill(word_, device(), 0, sizeof(int));

    ncclUniqueId id;
    RLCPP_CHECK(unique_id.size() == sizeof id);
    std::memcpy(&id, unique_id.data(), sizeof id);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    {
      const std::lock_guard lock(handle_->mutex);
      ncclComm_t comm = nullptr;
      const ncclResult_t status = nccl_.init(&comm, size(), id, rank(), &config);
      handle_->comm = comm;
      require(status, "joining the other ranks");
    }
    const Wait wait("the other ranks", fmt::format("rank {} joins NCCL", rank()), world().deadlines().soft,
                    world().deadlines().start);
    settle("joining the other ranks", 0, &wait);
  }

  cudaEvent_t new_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    events_.push_back(event);
    return event;
  }

  void require(ncclResult_t status, const std::string& what) const {
    if (status == ncclSuccess || status == ncclInProgress) return;
    std::string words = fmt::format("NCCL reports {}", nccl_.error_string(status));
    if (const char* last = nccl_.last_error(handle_->comm); last != nullptr && *last != '\0') {
      words += fmt::format(" ({})", last);
    }
    world().fail(world().failure_of(rank(), words + ", " + what));
    world().check();
  }

  // A lost context shows at any call; the other ranks hear what it was.
  void must(cudaError_t status, const char* call) const {
    if (status == cudaSuccess) return;
    world().fail(
        world().failure_of(rank(), fmt::format("its GPU reports {}: {}, {}", cudaGetErrorName(status),
                                               cudaGetErrorString(status), call)));
    world().check();
  }

  // Until NCCL has taken the last call: at once but for the first collective of a kind, which connects to
  // peers. Then the watch counts the collective as begun, so that its deadline runs.
  void settle(const std::string& what, std::uint64_t sequence, const Wait* wait = nullptr) {
    for (int round = 0;; ++round) {
      ncclResult_t state = ncclSuccess;
      {
        const std::lock_guard lock(handle_->mutex);
        world().check();
        const ncclResult_t asked = nccl_.async_error(handle_->comm, &state);
        require(asked, what);
        require(state, what);
      }
      if (state == ncclSuccess) return;
      if (wait != nullptr) wait->check();
      if (round == 1000) world().begin(rank(), sequence);
      if (round > 1000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  void run(const Call& call) override {
    must(cudaSetDevice(device().index), "cudaSetDevice");
    if (!grouped_) take_flight();
    Flight& flight = flying_now_;
    if (flight.first == 0) {
      flight.first = call.entry.sequence;
      follow(call.after);
      must(cudaEventRecord(flight.begun, stream_), "cudaEventRecord");
    } else {
      follow(call.after);
    }
    flight.last = call.entry.sequence;
    {
      const std::lock_guard lock(handle_->mutex);
      world().check();
      require(launch(call), text_of(call.entry));
    }
    if (!grouped_) land(text_of(call.entry));
  }

  void follow(Stream after) {
    must(cudaEventRecord(ready_, static_cast<cudaStream_t>(after.cuda)), "cudaEventRecord");
    must(cudaStreamWaitEvent(stream_, ready_, 0), "cudaStreamWaitEvent");
  }

  ncclResult_t launch(const Call& call) {
    const Entry& e = call.entry;
    const auto count = static_cast<std::size_t>(e.count), part = count / static_cast<std::size_t>(size());
    const ncclDataType_t type = type_of(e.type);
    const ncclRedOp_t op = e.reduction == Reduction::kSum ? ncclSum : ncclMax;
    if (count == 0 && e.collective != Collective::kBarrier) return ncclSuccess;
    switch (e.collective) {
      case Collective::kAllReduce:
        return nccl_.all_reduce(call.in, call.out, count, type, op, handle_->comm, stream_);
      case Collective::kReduceScatter:
        return nccl_.reduce_scatter(call.in, call.out, part, type, op, handle_->comm, stream_);
      case Collective::kAllGather:
        return nccl_.all_gather(call.in, call.out, part, type, handle_->comm, stream_);
      case Collective::kBroadcast:
        return nccl_.broadcast(call.in, call.out, count, type, e.root, handle_->comm, stream_);
      case Collective::kBarrier:
        return nccl_.all_reduce(word_, word_, 1, ncclInt32, ncclSum, handle_->comm, stream_);
    }
    return ncclInvalidArgument;
  }

  void run_group(bool begin) override {
    if (begin) {
      take_flight();
      grouped_ = true;
      require(nccl_.group_start(), "beginning a group");
      return;
    }
    grouped_ = false;
    {
      const std::lock_guard lock(handle_->mutex);
      require(nccl_.group_end(), "a group of collectives");
    }
    if (flying_now_.first == 0) {  // an empty group
      const std::lock_guard lock(flights_mutex_);
      idle_.push_back(flying_now_);
      return;
    }
    land(fmt::format("a group of collectives, #{} to #{}", flying_now_.first, flying_now_.last));
  }

  // A pair of events for the next launch. If all are on their way, waits for the device.
  void take_flight() {
    for (int round = 0;; ++round) {
      {
        const std::lock_guard lock(flights_mutex_);
        if (!idle_.empty()) {
          flying_now_ = idle_.front();
          idle_.pop_front();
          flying_now_.first = flying_now_.last = 0;
          return;
        }
      }
      observe();
      world().check();
      if (round > 100) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // The launch is with NCCL: marks its end on the stream. From now on the watch sees it.
  void land(const std::string& what) {
    settle(what, flying_now_.last);
    must(cudaEventRecord(flying_now_.done, stream_), "cudaEventRecord");
    const std::lock_guard lock(flights_mutex_);
    flights_.push_back(flying_now_);
  }

  void order(std::uint64_t sequence, Stream stream) override {
    cudaEvent_t done = nullptr;
    {
      const std::lock_guard lock(flights_mutex_);
      const auto flight =
          std::find_if(flights_.begin(), flights_.end(), [&](const Flight& f) { return sequence <= f.last; });
      if (flight == flights_.end()) return;  // it is over
      done = flight->done;
    }
    // Outside the lock, which the watch may want while it holds its own; only this thread records events
    // anew.
    must(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream.cuda), done, 0), "cudaStreamWaitEvent");
  }

  bool done(std::uint64_t sequence) override { return observe().completed >= sequence; }

  // Event queries never wait for the device.
  Progress observe() override {
    cudaSetDevice(device().index);
    Progress progress;
    {
      const std::lock_guard lock(flights_mutex_);
      cudaError_t status = cudaSuccess;
      while (!flights_.empty()) {
        Flight& flight = flights_.front();
        status = cudaEventQuery(flight.begun);
        if (status != cudaSuccess) break;
        begun_ = flight.last;
        status = cudaEventQuery(flight.done);
        if (status != cudaSuccess) break;
        completed_ = flight.last;
        idle_.push_back(flight);
        flights_.pop_front();
      }
      progress.begun = begun_;
      progress.completed = completed_;
      if (status == cudaErrorNotReady) {
        cudaGetLastError();  // else the next check of a launch on this thread would report it
      } else if (status != cudaSuccess) {
        progress.error =
            fmt::format("its GPU reports {}: {}", cudaGetErrorName(status), cudaGetErrorString(status));
      }
    }
    if (std::unique_lock lock(handle_->mutex, std::try_to_lock);
        lock.owns_lock() && handle_->comm != nullptr && progress.error.empty()) {
      ncclResult_t state = ncclSuccess;
      if (nccl_.async_error(handle_->comm, &state) == ncclSuccess && state != ncclSuccess &&
          state != ncclInProgress) {
        progress.error = fmt::format("NCCL reports {}", nccl_.error_string(state));
      }
    }
    return progress;
  }

  std::function<void()> abort_action() override {
    return [handle = handle_] { abort(handle); };
  }

  // Leaving in order is polled like everything else; a rank that will not is left behind by an abort.
  void finish() {
    const auto end = Clock::now() + world().deadlines().leave;
    ncclResult_t state = ncclInProgress;
    {
      const std::lock_guard lock(handle_->mutex);
      if (handle_->comm == nullptr) return;
      state = nccl_.finalize(handle_->comm);
    }
    while (state == ncclInProgress && Clock::now() < end && !world().failed()) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      const std::lock_guard lock(handle_->mutex);
      if (handle_->comm == nullptr || nccl_.async_error(handle_->comm, &state) != ncclSuccess) break;
    }
    const std::lock_guard lock(handle_->mutex);
    if (state != ncclSuccess || handle_->comm == nullptr) return;
    if (handle_->ending.exchange(true)) return;  // an abort waits for the lock: leave it to that
    nccl_.destroy(handle_->comm.exchange(nullptr));
    handle_->ended.store(true);
  }

  void close(bool in_order) noexcept {
    cudaSetDevice(device().index);
    if (in_order) finish();
    if (!handle_->ended.load()) {
      // The watch may be at it already; the second one returns at once.
      std::thread([handle = handle_] { abort(handle); }).detach();
      const auto end = Clock::now() + world().deadlines().leave;
      while (!handle_->ended.load() && Clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (!handle_->ended.load()) world().leave_now();
    }
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
    if (word_ != nullptr) rlcpp::cuda::release(word_, device());
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  const NcclLibrary& nccl_;
  std::shared_ptr<Handle> handle_;
  cudaStream_t stream_ = nullptr;
  std::vector<cudaEvent_t> events_;
  cudaEvent_t ready_ = nullptr;
  void* word_ = nullptr;  // of the barrier
  bool grouped_ = false;
  Flight flying_now_;  // of the rank's thread

  std::mutex flights_mutex_;
  std::deque<Flight> flights_;  // on their way, in order
  std::deque<Flight> idle_ = std::deque<Flight>(kFlights);
  std::uint64_t begun_ = 0, completed_ = 0;
};

}  // namespace

std::string nccl_unique_id() {
  ncclUniqueId id;
  const NcclLibrary& nccl = NcclLibrary::get();
  if (const ncclResult_t status = nccl.get_unique_id(&id); status != ncclSuccess) {
    throw environment_error("NCCL found no network interface on which ranks can meet",
                            nccl.error_string(status), "run again with NCCL_DEBUG=WARN in the environment");
  }
  return {reinterpret_cast<const char*>(&id), sizeof id};
}

std::unique_ptr<Communicator> make_nccl(World& world, int rank, Device device, const std::string& unique_id) {
  return std::make_unique<Nccl>(world, rank, device, unique_id);
}

}  // namespace rlcpp::dist::cuda
