// The side channel between the processes of a run: where they meet, how rank 0's process learns how far every
// rank has come, and how a fault of one reaches all. No data of the model goes over it. One thread pumps it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "dist/address.h"
#include "dist/connection.h"
#include "dist/launch.h"
#include "dist/meeting.h"
#include "dist/roll.h"

namespace rlcpp::dist {

class Channel {
 public:
  // Rank 0's process listens at launch.address, the others come to it; returns when all are there. `secret`
  // (in: of rank 0's process) reaches all: NCCL's id. The ranks of all processes are on the roll afterwards.
  // `on_fault`: called by pump() with a fault of another process. Errors: as World's constructor. What is
  // given by reference outlives this.
  Channel(const Launch& launch, Roll& roll, std::string& secret, const Meeting& meeting,
          std::chrono::milliseconds limit, std::function<void(const Fault&)> on_fault);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Receives and sends what there is; waits for at most `timeout` for something to come.
  void pump(std::chrono::milliseconds timeout);

  // From any thread; sent by the next pump().
  void entered(int rank, const Entry& entry);
  void left(int rank);
  void failed(const Fault& fault);

  // Last words: sends what is queued, for at most `limit`.
  void drain(std::chrono::milliseconds limit);

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    explicit Peer(Socket socket) : connection(std::move(socket)) {}
    Connection connection;
    int process = -1;  // unknown until its hello
    bool gone = false;
  };
  void host(Clock::time_point deadline);
  void go_to_host(Clock::time_point deadline);
  void hello(Peer& peer, const std::string& text);
  std::optional<Fault> misfit(const nlohmann::json& hello) const;
  void refuse(Peer& peer, const Fault& why);
  [[noreturn]] void refuse_all();
  void frame(Peer& peer, std::uint32_t kind, std::span<const std::byte> payload);
  void lose(Peer& peer);
  void send_queued();
  void send_progress();
  std::string missing() const;
  bool hosts() const { return launch_.process == 0; }

  const Launch& launch_;
  Roll& roll_;
  std::string& secret_;
  const Meeting& meeting_;
  std::function<void(const Fault&)> on_fault_;
  Address address_;
  std::string password_;               // what the meeting file holds; at a port there is none
  std::unique_ptr<MeetingFile> file_;  // while process 0 waits
  Socket listener_;
  std::vector<std::unique_ptr<Peer>> peers_;  // of a guest: the host alone
  std::vector<Party> parties_;                // of the host: who has come, itself included
  int refused_ = 0;                           // processes that were told why the run does not begin
  std::string turned_away_;                   // of another run: the last
  bool welcomed_ = false;
  bool last_ = false;  // drain() has begun
  std::optional<Fault> refusal_;
  Clock::time_point next_progress_{};
  std::mutex queue_mutex_;
  std::vector<std::pair<std::uint32_t, std::string>> queue_;
};

}  // namespace rlcpp::dist
