// How the processes of a run come together: process 0 waits at its address, the others go there and say who
// they are and with what they were started. Either all begin or all are told the one reason why not.
#include <algorithm>
#include <random>
#include <thread>
#include <tuple>
#include <utility>

#include <csignal>

#include <fmt/format.h>

#include "base/error.h"
#include "base/signals.h"
#include "base/wait.h"
#include "dist/channel.h"
#include "dist/channel_frames.h"

namespace rlcpp::dist {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

// Once it is known that the run cannot begin: for so long the verdict waits for more processes, to say which
// of them has what; and for so long process 0 stays, to tell those that come later.
constexpr milliseconds kGather{2000}, kStay{10'000};

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string fresh_password() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 4; ++i) text += fmt::format("{:08x}", random());
  return text;
}

Json json_of(const Terms& terms) {
  Json out = Json::array();
  for (const auto& [key, value] : terms) out.push_back({key, value});
  return out;
}

Terms terms_in(const Json& json) {
  Terms out;
  for (const auto& [key, value] : json.get<std::vector<std::pair<std::string, std::string>>>())
    out.push_back({key, value});
  return out;
}

// A run that has not begun has nothing to finish.
void leave_if_asked(const Launch& launch) {
  const int signal = stop_signal();
  if (signal == 0) return;
  throw Error(signal == SIGINT ? ExitCode::kInterrupted : ExitCode::kTerminated,
              fmt::format("stopped while the processes of the run met at {}", launch.address),
              "nothing was done yet", "");
}

}  // namespace

Channel::Channel(const Launch& launch, Roll& roll, std::string& secret, const Meeting& meeting,
                 milliseconds limit, std::function<void(const Fault&)> on_fault)
    : launch_(launch),
      roll_(roll),
      secret_(secret),
      meeting_(meeting),
      on_fault_(std::move(on_fault)),
      address_(parse_address(launch.address)) {
  require_meeting_folder(address_);
  const Clock::time_point deadline = Clock::now() + limit;
  // Listed with the waits of the process; ends itself through the deadline.
  const Wait wait(hosts() ? "the other processes of the run" : "process 0 of the run",
                  "meeting at " + launch.address, std::min<milliseconds>(limit, milliseconds(30'000)), limit);
  if (hosts()) {
    host(deadline);
  } else {
    go_to_host(deadline);
  }
}

Channel::~Channel() = default;

void Channel::host(Clock::time_point deadline) {
  if (!address_.file.empty()) {
    listener_ = listen_on("127.0.0.1", 0);
    password_ = fresh_password();
    file_ = std::make_unique<MeetingFile>(address_.file, port_of(listener_), password_);
  } else {
    listener_ = listen_on(address_.host, address_.port);
  }
  if (meeting_.inform) {
    meeting_.inform(
        fmt::format("process 0 of {} waits for the others at {}", launch_.processes, launch_.address));
  }
  parties_ = {{0, roll_.place(0), meeting_.terms}};
  std::size_t compared = 1;
  Clock::time_point decide_at = Clock::time_point::max();
  while (!refusal_.has_value() && static_cast<int>(parties_.size()) < launch_.processes) {
    leave_if_asked(launch_);
    if (Clock::now() >= deadline) {
      throw runtime_failure(
          fmt::format("{} of {} processes came to {}", parties_.size(), launch_.processes, launch_.address),
          missing() + " did not come in time" + turned_away_,
          "look at their logs; all need the same --dist.address and number of processes");
    }
    pump(milliseconds(50));
    if (parties_.size() > compared && difference(parties_).has_value())
      decide_at = std::min(decide_at, Clock::now() + kGather);
    compared = parties_.size();
    if (Clock::now() >= decide_at && !refusal_.has_value()) refusal_ = difference(parties_);
  }
  if (!refusal_.has_value()) refusal_ = difference(parties_);
  if (refusal_.has_value()) refuse_all();
  listener_ = Socket();  // nobody else is expected
  file_.reset();
  // Who connected and has not said that it belongs to this run is not told its secret.
  std::erase_if(peers_, [](const auto& peer) { return peer->process < 0; });
  Json who = Json::array();
  for (int rank = 0; rank < roll_.size(); ++rank) who.push_back(roll_.place(rank));
  const std::string welcome = dump({{"secret", hex(secret_)}, {"who", who}});
  for (const auto& peer : peers_) peer->connection.send(kWelcome, welcome);
  welcomed_ = true;
  pump(milliseconds(0));
}

void Channel::refuse_all() {
  for (const auto& peer : peers_) {
    if (peer->process >= 0) refuse(*peer, *refusal_);
  }
  const Clock::time_point end = Clock::now() + kStay;
  while (refused_ + 1 < launch_.processes && Clock::now() < end && stop_signal() == 0) {
    pump(milliseconds(50));  // hello() answers those that still come
  }
  drain(milliseconds(500));
  throw error_of(*refusal_);
}

void Channel::refuse(Peer& peer, const Fault& why) {
  peer.connection.send(kRefused, text_of(why));
  ++refused_;
}

void Channel::go_to_host(Clock::time_point deadline) {
  std::string why = "it was not tried";
  while (!welcomed_) {
    leave_if_asked(launch_);
    if (Clock::now() >= deadline) {
      throw runtime_failure(
          fmt::format("process 0 was not reached at {}", launch_.address), why,
          "look at its log; all processes need the same --dist.address and number of processes");
    }
    if (peers_.empty()) {
      std::string host_name = address_.host;
      int port = address_.port;
      if (!address_.file.empty()) {
        const auto content = MeetingFile::read(address_.file).value_or(MeetingFile::Content{});
        host_name = "127.0.0.1";
        port = content.port;
        password_ = content.password;
        why = port == 0 ? "its file is not there, or process 0 took it away when it ended" : "";
      }
      Socket socket = port == 0 ? Socket() : connect_to(host_name, port, &why);
      if (!socket.open()) {
        std::this_thread::sleep_for(milliseconds(100));
        continue;
      }
      Json who = Json::array();
      for (int i = 0; i < launch_.local_ranks(); ++i) who.push_back(roll_.place(launch_.first_rank() + i));
      peers_.push_back(std::make_unique<Peer>(std::move(socket)));
      peers_[0]->process = 0;
      peers_[0]->connection.send(kHello, dump({{"protocol", kProtocol},
                                               {"password", password_},
                                               {"run", launch_.run_id},
                                               {"processes", launch_.processes},
                                               {"process", launch_.process},
                                               {"local_ranks", launch_.local_ranks()},
                                               {"who", who},
                                               {"terms", json_of(meeting_.terms)}}));
    }
    pump(milliseconds(50));
    if (refusal_.has_value()) throw error_of(*refusal_);
    if (!welcomed_ && peers_[0]->gone) {  // another program on that port, or a run that is ending
      why = "what answers there closed the connection";
      peers_.clear();
      std::this_thread::sleep_for(milliseconds(100));
    }
  }
}

std::string Channel::missing() const {
  std::string text;
  for (const Roll::Row& row : roll_.rows()) {
    if (row.state == Roll::State::kAwaited)
      text += (text.empty() ? "rank " : ", ") + std::to_string(row.rank);
  }
  return text;
}

// The reason why the process that says hello can have no part in this run: one that it shares with all
// others.
std::optional<Fault> Channel::misfit(const nlohmann::json& json) const {
  const int process = json.value("process", -1);
  const auto fault = [](std::string what) {
    return Fault{std::move(what), "",
                 "start all of them with the same program and the same --dist.ranks and --dist.devices",
                 ExitCode::kBadInput};
  };
  if (json.value("protocol", 0) != kProtocol)
    return fault(fmt::format("process {} of this run is another version of rlcpp than process 0", process));
  const int processes = json.value("processes", 0), local_ranks = json.value("local_ranks", 0);
  if (processes != launch_.processes || local_ranks != launch_.local_ranks()) {
    return fault(
        fmt::format("the processes of this run do not fit together: process {} counts {} processes of {} "
                    "ranks, process 0 counts {} of {}",
                    process, processes, local_ranks, launch_.processes, launch_.local_ranks()));
  }
  if (process < 1 || process >= launch_.processes)
    return fault(fmt::format("there is no process {} of the {} of this run", process, launch_.processes));
  for (const Party& other : parties_) {
    if (other.process == process)
      return fault(fmt::format("two processes of this run are number {}", process));
  }
  return std::nullopt;
}

void Channel::hello(Peer& peer, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  // A stranger gets no answer.
  if (!json.is_object() || !json.contains("protocol") || json.value("password", "") != password_)
    return peer.connection.close();
  // Another run's process leaves alone; ours still come.
  const std::string run = json.value("run", "");
  if (run != launch_.run_id && json.value("protocol", 0) == kProtocol) {
    peer.connection.send(
        kRefused,
        text_of(
            Fault{fmt::format("{} meets at {}, and this process is of {}", name_of_run(launch_.run_id),
                              launch_.address, name_of_run(run)),
                  "processes with another dist.run_id are kept out",
                  "give all processes of a run the same --dist.run-id, and each run an address of its own",
                  ExitCode::kBadInput}));
    const std::string note = fmt::format("a process of {} came to {} and was turned away: this is {}",
                                         name_of_run(run), launch_.address, name_of_run(launch_.run_id));
    if (turned_away_.empty() && meeting_.warn) meeting_.warn(note);
    turned_away_ = "; " + note;
    return;
  }
  if (refusal_.has_value()) return refuse(peer, *refusal_);
  if (auto fault = misfit(json)) {
    refusal_ = std::move(fault);
    return refuse(peer, *refusal_);
  }
  Terms terms = terms_in(json.value("terms", Json::array()));
  const int process = json.value("process", -1), local_ranks = launch_.local_ranks();
  auto who = json.value("who", std::vector<std::string>());
  who.resize(static_cast<std::size_t>(local_ranks));
  peer.process = process;
  const auto after = std::find_if(parties_.begin(), parties_.end(),
                                  [&](const Party& party) { return party.process > process; });
  parties_.insert(after, {process, who.front(), std::move(terms)});
  for (int i = 0; i < local_ranks; ++i) {
    const int rank = process * local_ranks + i;
    roll_.describe(rank, who[static_cast<std::size_t>(i)]);
    roll_.arrive(rank);
    roll_.heard(rank);
  }
}

}  // namespace rlcpp::dist
