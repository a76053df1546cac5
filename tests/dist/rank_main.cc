// One process of a run, for the tests of dist: its rank comes from the environment, what it does from the
// command line. Leaves as rlcpp would: an Error is printed once and gives the exit code.
//   dist_rank DO --carrier none|auto --limit MS [--device cuda] [--devices N] [--plugin PATH] [--seed N]
//             [--run-id ID] [--address A] [--fail POINT] [--faulty RANK] [--term KEY=VALUE]
// Each --term is one thing that all processes must have been given alike.
// DO: collectives (random ones; prints a digest of all bits); slow (forty steps, printed); none (six steps),
// or six steps with a fault of one rank at its third collective: sleep (never enters), kill, swap (enters
// another), short (another size), leave, crash-gpu (loses the context of its GPU); stay-away (fails before it
// joins); with --idle MS: still (all ranks stand still there), busy (all are outside of collectives for 2 s
// there, and say what they do).
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/failpoint.h"
#include "dist/world.h"
#include "tensor/copy.h"

namespace rlcpp::dist {
namespace {

// Carries nothing: a collective is over when the roll says that all ranks have entered it. So the side
// channel and the watch can be tested where neither MPI nor a GPU is.
class Hollow final : public Communicator {
 public:
  Hollow(World& world, int rank) : Communicator(world, rank, Device{}) { world.enlist(*this); }
  ~Hollow() override { depart(); }
  std::string description() const override { return "hollow"; }

 private:
  void run(const Call& call) override {
    const auto all_entered = [&] {
      for (const Roll::Row& row : world().roll().rows()) {
        if (row.entered < call.entry.sequence) return false;
      }
      return true;
    };
    while (!all_entered()) {
      world().check();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
};

std::unique_ptr<Communicator> join(World& world, int local, bool hollow) {
  if (hollow) return std::make_unique<Hollow>(world, world.first_rank() + local);
  return world.join(local);
}

// Memory of a rank on its device, with bytes that depend on the seed alone.
class Buffer {
 public:
  Buffer(Device device, std::int64_t count) : device_(device), host_(static_cast<std::size_t>(count)) {
    if (device.kind == DeviceKind::kCuda) memory_ = cuda::allocate(host_.size() * 4 + 256, device);
  }
  ~Buffer() {
    if (memory_ != nullptr) cuda::release(memory_, device_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Tensor tensor() {
    return Tensor(memory_ != nullptr ? memory_ : host_.data(), DType::kF32,
                  {static_cast<std::int64_t>(host_.size())}, device_);
  }
  void randomise(std::uint64_t seed) {
    std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (float& value : host_) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      value = static_cast<float>(static_cast<std::int32_t>(state >> 33)) * 1e-6F;
    }
    if (memory_ != nullptr) from_floats(tensor(), host_);
  }
  std::uint64_t digest(std::uint64_t hash) {
    const std::vector<float> values = to_floats(tensor());
    for (const float value : values) hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 1099511628211ULL;
    return hash;
  }

 private:
  Device device_;
  std::vector<float> host_;
  void* memory_ = nullptr;
};

std::uint64_t collectives(Communicator& c, std::uint64_t seed) {
  std::uint64_t hash = 14695981039346656037ULL;
  std::uint64_t at = 0;
  for (const std::int64_t n : {1, 3, 1000, 65537, 3000001}) {
    // The largest is more than a carrier's scratch, in all parts together.
    const std::int64_t own = n > 1000000 ? n / c.size() : n;
    Buffer all(c.device(), n), wide(c.device(), own * c.size()), part(c.device(), own);
    all.randomise(seed + ++at * 64 + static_cast<std::uint64_t>(c.rank()));
    c.all_reduce(all.tensor(), Reduction::kSum, "gradients").wait();
    hash = all.digest(hash);
    wide.randomise(seed + ++at * 64 + static_cast<std::uint64_t>(c.rank()));
    c.reduce_scatter(part.tensor(), wide.tensor(), Reduction::kSum, "gradients layer 1").wait();
    c.all_gather(wide.tensor(), part.tensor(), "weights").wait();
    hash = wide.digest(hash);
    c.broadcast(all.tensor(), c.size() - 1, "start").wait();
    c.all_reduce(all.tensor(), Reduction::kMax, "largest").wait();
    hash = all.digest(hash);
    c.barrier("step");
  }
  return hash;
}

void faults(Communicator& c, const std::string& what, int faulty) {
  Buffer data(c.device(), 1000);
  data.randomise(1);
  const bool slow = what == "slow";
  for (int step = 1; step <= (slow ? 40 : 6); ++step) {
    if (slow) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::printf("step %d\n", step);
      std::fflush(stdout);
    }
    const bool now = step == 3 && c.rank() == faulty;
    if (step == 3 && what == "still") {
      c.note("reads the rows of step", step, 6);
      std::this_thread::sleep_for(std::chrono::seconds(60));
    }
    for (int part = 0; step == 3 && what == "busy" && part < 20; ++part) {
      c.note("micro-batch", part + 1, 20);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    if (now && what == "sleep") std::this_thread::sleep_for(std::chrono::seconds(60));
    if (now && what == "kill") ::kill(::getpid(), SIGKILL);
    if (now && what == "leave") return;
    if (now && what == "crash-gpu") {
      // NCCL's kernel reads where nothing is: the context of this GPU is lost, the machine is not.
      // (The first pages are never mapped; high addresses may be a library's.)
      const Tensor nowhere(reinterpret_cast<void*>(std::uintptr_t{4096}), DType::kF32, {1000}, c.device());
      c.all_reduce(nowhere, Reduction::kSum, "gradients layer 3").wait();
    }
    if (now && what == "swap") {
      c.barrier("validation");
    } else if (now && what == "short") {
      c.all_reduce(data.tensor().rows(0, 999), Reduction::kSum, "gradients layer 3").wait();
    }
    c.all_reduce(data.tensor(), Reduction::kSum, step == 3 ? "gradients layer 3" : "gradients").wait();
  }
}

int run(int count, char** arguments) {
  std::map<std::string, std::string> options;
  Terms terms;
  for (int i = 2; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    options[name] = value;
    const std::size_t equals = value.find('=');
    if (name == "--term") terms.push_back({value.substr(0, equals), value.substr(equals + 1)});
  }
  const std::string what = arguments[1];
  if (options.contains("--fail")) failpoint::arm(options["--fail"]);
  LaunchRequest request;
  request.run_id = options["--run-id"];
  request.address = options["--address"];
  if (options.contains("--devices")) {
    for (int i = 0; i < std::stoi(options["--devices"]); ++i) request.devices.push_back(i);
  }
  WorldOptions world_options;
  world_options.launch = find_launch(request);
  world_options.device = options["--device"] == "cuda" ? DeviceKind::kCuda : DeviceKind::kCpu;
  world_options.mpi_plugin = options["--plugin"];
  world_options.meeting = {std::move(terms),
                           [](const std::string& text) { std::fprintf(stderr, "info: %s\n", text.c_str()); },
                           [](const std::string& text) { std::fprintf(stderr, "warn: %s\n", text.c_str()); }};
  const bool hollow = options["--carrier"] == "none";
  if (hollow) world_options.carrier = Carrier::kNone;
  const std::chrono::milliseconds limit(std::stoi(options["--limit"]));
  world_options.deadlines = {std::chrono::seconds(30), limit / 2, limit, std::chrono::seconds(3)};
  if (options.contains("--idle"))
    world_options.deadlines.idle = std::chrono::milliseconds(std::stoi(options["--idle"]));
  World world(world_options);

  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(world.local_ranks()));
  std::vector<std::thread> threads;
  for (int local = 0; local < world.local_ranks(); ++local) {
    threads.emplace_back([&, local] {
      try {
        if (what == "stay-away" && world.first_rank() + local == std::stoi(options["--faulty"])) {
          throw bad_input("this rank has no data");
        }
        const auto communicator = join(world, local, hollow);
        if (what != "collectives") return faults(*communicator, what, std::stoi(options["--faulty"]));
        const std::uint64_t hash = collectives(*communicator, std::stoull(options["--seed"]));
        std::printf("rank %d %016llx %s\n", communicator->rank(), static_cast<unsigned long long>(hash),
                    communicator->description().c_str());
      } catch (...) {
        errors[static_cast<std::size_t>(local)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return 0;
}

}  // namespace
}  // namespace rlcpp::dist

int main(int count, char** arguments) {
  try {
    return rlcpp::dist::run(count, arguments);
  } catch (const rlcpp::Error& error) {
    std::fputs(error.render().c_str(), stderr);
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "unexpected: %s\n", error.what());
    return 99;
  }
}
