#include "dist/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include <cstring>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/signals.h"
#include "base/wait.h"

namespace rlcpp::dist {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

// Raised when frames or their structures change: processes of two versions refuse each other.
constexpr int kProtocol = 1;
constexpr milliseconds kProgressPeriod{100};
constexpr const char* kFile = "file:";

enum Kind : std::uint32_t { kHello = 1, kWelcome, kRefused, kEntry, kMarks, kRows, kFault, kBye };

struct EntryFrame {
  std::int64_t rank;
  Entry entry;
};
struct MarksFrame {
  std::int64_t rank;
  std::uint64_t begun, completed;
};

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <class T>
bool read(std::span<const std::byte> payload, T& value) {
  if (payload.size() != sizeof value) return false;
  std::memcpy(&value, payload.data(), sizeof value);
  return true;
}

std::string text_of(std::span<const std::byte> payload) {
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

// The code that all ranks leave with: that of the error behind the fault.
ExitCode code_of(int number) {
  for (const ExitCode code : {ExitCode::kBadInput, ExitCode::kEnvironment, ExitCode::kCheckFailed}) {
    if (number == static_cast<int>(code)) return code;
  }
  return ExitCode::kFailed;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::string fresh_password() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 4; ++i) text += fmt::format("{:08x}", random());
  return text;
}

std::pair<std::string, int> split_address(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 && colon + 6 >= address.size()) {
    for (std::size_t i = colon + 1; i < address.size(); ++i) {
      if (address[i] < '0' || address[i] > '9') port = 1 << 20;
      port = port * 10 + (address[i] - '0');
    }
  }
  if (port < 1 || port > 65535) {
    throw bad_input(
        fmt::format("the address \"{}\" where the ranks meet has not the form HOST:PORT", address),
        "the port is a number from 1 to 65535",
        "use --dist.address HOST:PORT, or --dist.address file:PATH on one machine");
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return {host, port};
}

// The folder of a meeting file is this user's alone: what is read there is believed.
void require_private_folder(const std::string& path) {
  const std::string folder = path.find('/') == std::string::npos ? "." : path.substr(0, path.rfind('/'));
  ::mkdir(folder.c_str(), 0700);
  struct stat facts {};
  if (::lstat(folder.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == ::getuid() &&
      (facts.st_mode & 022) == 0) {
    return;
  }
  throw environment_error(
      fmt::format("the folder {} of the file where the ranks meet cannot be used", folder),
      "it must be a folder of this user that nobody else may write",
      "name another with --dist.address file:PATH");
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

Channel::Channel(const Launch& launch, Roll& roll, std::string& secret, milliseconds limit,
                 std::function<void(const Fault&)> on_fault)
    : launch_(launch),
      roll_(roll),
      secret_(secret),
      on_fault_(std::move(on_fault)),
      password_("run " + launch.run_id) {
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

Channel::~Channel() {
  if (!meeting_file_.empty()) ::unlink(meeting_file_.c_str());
}

void Channel::host(Clock::time_point deadline) {
  if (launch_.address.starts_with(kFile)) {
    const std::string path = launch_.address.substr(std::strlen(kFile));
    require_private_folder(path);
    ::unlink(path.c_str());  // of a run that was killed
    listener_ = listen_on("127.0.0.1", 0);
    password_ = fresh_password();
    durable::write_file(durable::system_files(), path, fmt::format("{} {}\n", port_of(listener_), password_));
    meeting_file_ = path;
  } else {
    const auto [name, port] = split_address(launch_.address);
    listener_ = listen_on(name, port);
  }
  while (arrived_ < launch_.processes) {
    leave_if_asked(launch_);
    if (Clock::now() >= deadline) {
      throw runtime_failure(
          fmt::format("{} of {} processes came to {}", arrived_, launch_.processes, launch_.address),
          missing() + " did not come in time",
          "look at their logs; all need the same --dist.address and --dist.ranks");
    }
    pump(milliseconds(50));
    if (!refusal_.empty()) {
      drain(milliseconds(500));
      throw bad_input("the processes of this run do not fit together", refusal_,
                      "start all of them with the same program and the same --dist.ranks and --dist.devices");
    }
  }
  listener_ = Socket();  // nobody else is expected
  // Who connected and has not said that it belongs to this run is not told its secret.
  std::erase_if(peers_, [](const auto& peer) { return peer->process < 0; });
  Json who = Json::array();
  for (int rank = 0; rank < roll_.size(); ++rank) who.push_back(roll_.place(rank));
  const std::string welcome = dump({{"secret", hex(secret_)}, {"who", who}});
  for (const auto& peer : peers_) peer->connection.send(kWelcome, welcome);
  welcomed_ = true;
  pump(milliseconds(0));
}

void Channel::go_to_host(Clock::time_point deadline) {
  const bool by_file = launch_.address.starts_with(kFile);
  std::string why = "it was not tried";
  while (!welcomed_) {
    leave_if_asked(launch_);
    if (Clock::now() >= deadline) {
      throw runtime_failure(fmt::format("process 0 was not reached at {}", launch_.address), why,
                            "look at its log; all processes need the same --dist.address and --dist.ranks");
    }
    if (peers_.empty()) {
      std::string host_name = "127.0.0.1";
      int port = 0;
      if (by_file) {
        const std::string path = launch_.address.substr(std::strlen(kFile));
        struct stat facts {};
        if (::stat(path.c_str(), &facts) == 0 && facts.st_uid == ::getuid()) {
          const std::string text = durable::read_file(path);
          port = std::atoi(text.c_str());
          const std::size_t space = text.find(' ');
          password_ = space == std::string::npos ? "" : text.substr(space + 1, text.find('\n') - space - 1);
        }
        why = port == 0 ? "its file is not there, or process 0 took it away when it ended" : "";
      } else {
        std::tie(host_name, port) = split_address(launch_.address);
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
                                               {"processes", launch_.processes},
                                               {"process", launch_.process},
                                               {"local_ranks", launch_.local_ranks()},
                                               {"who", who}}));
    }
    pump(milliseconds(50));
    if (!refusal_.empty()) {
      throw bad_input(
          fmt::format("process 0 at {} refused this process", launch_.address), refusal_,
          "start all processes with the same program and the same --dist.ranks and --dist.devices");
    }
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

void Channel::hello(Peer& peer, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  const auto refuse = [&](const std::string& why) {
    peer.connection.send(kRefused, why);
    refusal_ = why;
  };
  // A stranger gets no answer.
  if (!json.is_object() || json.value("password", "") != password_) return peer.connection.close();
  const int process = json.value("process", -1);
  if (json.value("protocol", 0) != kProtocol) {
    return refuse(fmt::format("process {} is another version of rlcpp", process));
  }
  const int processes = json.value("processes", 0), local_ranks = json.value("local_ranks", 0);
  if (processes != launch_.processes || local_ranks != launch_.local_ranks()) {
    return refuse(fmt::format("process {} counts {} processes of {} ranks, process 0 counts {} of {}",
                              process, processes, local_ranks, launch_.processes, launch_.local_ranks()));
  }
  if (process < 1 || process >= launch_.processes) {
    return refuse(fmt::format("there is no process {} of {}", process, launch_.processes));
  }
  for (const auto& other : peers_) {
    if (other->process == process) return refuse(fmt::format("two processes are number {}", process));
  }
  auto who = json.value("who", std::vector<std::string>());
  who.resize(static_cast<std::size_t>(local_ranks));
  peer.process = process;
  ++arrived_;
  for (int i = 0; i < local_ranks; ++i) {
    const int rank = process * local_ranks + i;
    roll_.describe(rank, who[static_cast<std::size_t>(i)]);
    roll_.arrive(rank);
    roll_.heard(rank);
  }
}

void Channel::frame(Peer& peer, std::uint32_t kind, std::span<const std::byte> payload) {
  const int first = peer.process * launch_.local_ranks();
  const auto its_rank = [&](std::int64_t rank) {
    return peer.process >= 0 && rank >= first && rank < first + launch_.local_ranks();
  };
  EntryFrame entry;
  MarksFrame marks;
  switch (kind) {
    case kHello:
      if (!hosts() || peer.process >= 0) return;
      try {
        hello(peer, text_of(payload));
      } catch (const Json::exception&) {  // a stranger's: a field of another type
        peer.connection.close();
      }
      return;
    case kWelcome: {
      const Json json = Json::parse(text_of(payload), nullptr, false);
      if (hosts() || !json.is_object()) return;
      secret_ = from_hex(json.value("secret", ""));
      const auto who = json.value("who", std::vector<std::string>());
      for (int rank = 0; rank < roll_.size(); ++rank) {
        const auto i = static_cast<std::size_t>(rank);
        const bool ours = rank >= launch_.first_rank() && rank < launch_.first_rank() + launch_.local_ranks();
        if (!ours && i < who.size()) roll_.describe(rank, who[i]);
        roll_.arrive(rank);
        roll_.heard(rank);
      }
      welcomed_ = true;
      return;
    }
    case kRefused:
      if (!hosts()) refusal_ = text_of(payload);
      return;
    case kEntry:
      if (hosts() && read(payload, entry) && its_rank(entry.rank)) {
        roll_.enter(static_cast<int>(entry.rank), entry.entry);
      }
      return;
    case kMarks:
      if (hosts() && read(payload, marks) && its_rank(marks.rank)) {
        roll_.begin(static_cast<int>(marks.rank), marks.begun);
        roll_.complete(static_cast<int>(marks.rank), marks.completed);
        roll_.heard(static_cast<int>(marks.rank));
      }
      return;
    case kRows: {
      if (hosts() || payload.size() != static_cast<std::size_t>(roll_.size()) * sizeof(Roll::Row)) return;
      for (int rank = 0; rank < roll_.size(); ++rank) {
        Roll::Row row;
        std::memcpy(&row, payload.data() + static_cast<std::size_t>(rank) * sizeof row, sizeof row);
        const bool ours = rank >= launch_.first_rank() && rank < launch_.first_rank() + launch_.local_ranks();
        if (!ours && row.rank == rank) roll_.mirror(row);
      }
      return;
    }
    case kFault: {
      const Json json = Json::parse(text_of(payload), nullptr, false);
      if (!json.is_object()) return;
      on_fault_({json.value("what", ""), json.value("because", ""), json.value("help", ""),
                 code_of(json.value("code", 0))});
      return;
    }
    case kBye:
      if (std::int64_t rank = 0; read(payload, rank) && its_rank(rank)) roll_.leave(static_cast<int>(rank));
      return;
    default:
      return;
  }
}

void Channel::lose(Peer& peer) {
  peer.gone = true;
  if (peer.process < 0 || !welcomed_) {
    if (hosts() && peer.process >= 0) --arrived_;
    return;
  }
  // The host closes for all; who was there before it decides who is missed.
  const int first = peer.process * launch_.local_ranks();
  for (int rank = first; rank < first + launch_.local_ranks(); ++rank) {
    roll_.lose(rank, "its connection closed: the process ended or was killed");
  }
}

void Channel::send_queued() {
  std::vector<std::pair<std::uint32_t, std::string>> queued;
  {
    const std::lock_guard lock(queue_mutex_);
    queued.swap(queue_);
  }
  for (const auto& [kind, payload] : queued) {
    for (const auto& peer : peers_) {
      if (peer->process >= 0) peer->connection.send(kind, payload);
    }
  }
}

void Channel::send_progress() {
  const std::vector<Roll::Row> rows = roll_.rows();
  if (!hosts()) {
    for (const Roll::Row& row : rows) {
      const int first = launch_.first_rank();
      if (row.rank < first || row.rank >= first + launch_.local_ranks()) continue;
      peers_[0]->connection.send(kMarks, bytes_of(MarksFrame{row.rank, row.begun, row.completed}));
    }
    return;
  }
  for (const auto& peer : peers_) {
    // A process that does not read (stopped, swapped out) gets the newest state when it reads again.
    if (peer->process >= 0 && (last_ || !peer->connection.has_unsent())) {
      peer->connection.send(kRows, std::as_bytes(std::span(rows)));
    }
  }
}

void Channel::pump(milliseconds timeout) {
  send_queued();
  for (const auto& peer : peers_) peer->connection.flush();
  if (welcomed_ && !peers_.empty() && Clock::now() >= next_progress_) {
    next_progress_ = Clock::now() + kProgressPeriod;
    send_progress();
  }
  for (const auto& peer : peers_) peer->connection.flush();
  std::vector<pollfd> waits;
  for (const auto& peer : peers_) {
    const short events = static_cast<short>(POLLIN | (peer->connection.has_unsent() ? POLLOUT : 0));
    waits.push_back({peer->connection.fd(), events, 0});  // poll passes over a negative descriptor
  }
  if (listener_.open()) waits.push_back({listener_.fd(), POLLIN, 0});
  ::poll(waits.data(), waits.size(), static_cast<int>(timeout.count()));
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = *peers_[i];
    if (peer.gone) continue;
    peer.connection.receive(
        [&](std::uint32_t kind, std::span<const std::byte> payload) { frame(peer, kind, payload); });
    peer.connection.flush();
    if (!peer.connection.open()) lose(peer);
  }
  while (listener_.open()) {
    Socket guest(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!guest.open()) break;
    peers_.push_back(std::make_unique<Peer>(std::move(guest)));
  }
  if (hosts() && !welcomed_) std::erase_if(peers_, [](const auto& peer) { return peer->gone; });
}

void Channel::entered(int rank, const Entry& entry) {
  if (hosts()) return;  // on the true roll already
  const std::lock_guard lock(queue_mutex_);
  queue_.emplace_back(kEntry, bytes_of(EntryFrame{rank, entry}));
}

void Channel::left(int rank) {
  const std::lock_guard lock(queue_mutex_);
  queue_.emplace_back(kBye, bytes_of(std::int64_t{rank}));
}

void Channel::failed(const Fault& fault) {
  const std::lock_guard lock(queue_mutex_);
  queue_.emplace_back(kFault, dump({{"what", fault.what},
                                    {"because", fault.because},
                                    {"help", fault.help},
                                    {"code", static_cast<int>(fault.code)}}));
}

void Channel::drain(milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  next_progress_ = {};
  last_ = true;  // these rows say how far all came: nobody may miss them
  pump(milliseconds(0));
  const auto unsent = [&] {
    for (const auto& peer : peers_) {
      if (peer->connection.open() && peer->connection.has_unsent()) return true;
    }
    return false;
  };
  while (unsent() && Clock::now() < end) pump(milliseconds(10));
}

}  // namespace rlcpp::dist
