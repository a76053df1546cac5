// What a guest knows of the host's ranks: how far one came and that it left are told together.
#include "dist/channel.h"

#include <thread>

#include "dist/launch.h"
#include "dist/roll.h"
#include "support.h"

namespace rlcpp::dist {
namespace {

using std::chrono::milliseconds;

struct Side {
  Side(int process, const std::string& folder) {
    launch.processes = 2;
    launch.process = process;
    launch.address = "file:" + folder;
  }
  void meet() {
    channel = std::make_unique<Channel>(launch, roll, secret, meeting, std::chrono::seconds(60),
                                        [this](const Fault& fault) { fault_of_others = fault.what; });
  }
  // As World and a communicator do.
  void enter(std::uint64_t sequence) {
    Entry entry;
    entry.sequence = sequence;
    roll.enter(launch.process, entry);
    channel->entered(launch.process, entry);
  }
  void complete(std::uint64_t sequence) { roll.complete(launch.process, sequence); }
  void leave() {
    roll.leave(launch.process);
    channel->left(launch.process);
  }
  std::string fault() const {
    const auto found = roll.fault();
    return found ? found->what : fault_of_others;
  }

  Launch launch;
  Roll roll{2};
  std::string secret, fault_of_others;
  Meeting meeting;
  std::unique_ptr<Channel> channel;
};

// Both sides, once they have met.
struct Pair {
  Pair() {
    std::thread other([this] { host.meet(); });
    guest.meet();
    other.join();
  }
  test::TemporaryDirectory folder;
  Side host{0, folder / "meeting"}, guest{1, folder / "meeting"};
};

// mpirun counts a run as failed if one of its processes leaves out MPI_Finalize, as after a fault.
TEST(Channel, AHostThatLeavesAfterTheLastCollectiveHasNotLeftItOut) {
  for (int round = 0; round < 5; ++round) {
    Pair pair;
    Side &host = pair.host, &guest = pair.guest;
    for (Side* side : {&host, &guest}) side->enter(1);
    // Rows go to the guest every 100 ms; the last collective is entered, done and left between two of them.
    std::this_thread::sleep_for(milliseconds(110));
    for (int i = 0; i < 3; ++i) {
      host.channel->pump(milliseconds(1));
      guest.channel->pump(milliseconds(1));
    }
    for (Side* side : {&host, &guest}) side->enter(2);
    for (Side* side : {&host, &guest}) side->complete(2);
    host.leave();
    for (int i = 0; i < 3; ++i) {
      host.channel->pump(milliseconds(1));
      guest.channel->pump(milliseconds(5));
      ASSERT_EQ(guest.fault(), "");
    }
    guest.leave();
    guest.channel->drain(milliseconds(1000));
    host.channel->drain(milliseconds(1000));
    for (int i = 0; i < 100 && guest.roll.row(0).state != Roll::State::kLeft; ++i)
      guest.channel->pump(milliseconds(10));
    EXPECT_EQ(guest.roll.row(0).state, Roll::State::kLeft);
    EXPECT_EQ(guest.roll.row(0).entered, 2U);
    EXPECT_EQ(guest.fault(), "");
    EXPECT_EQ(host.fault(), "");
  }
}

// A rank that does leave one out is found as before.
TEST(Channel, AHostThatLeavesACollectiveOutIsNamed) {
  Pair pair;
  Side &host = pair.host, &guest = pair.guest;
  for (Side* side : {&host, &guest}) side->enter(1);
  guest.enter(2);
  host.leave();
  for (int i = 0; i < 100 && guest.fault().empty(); ++i) {
    host.channel->pump(milliseconds(5));
    guest.channel->pump(milliseconds(5));
  }
  EXPECT_NE(guest.fault().find("left the run, and rank 1"), std::string::npos) << guest.fault();
}

}  // namespace
}  // namespace rlcpp::dist
