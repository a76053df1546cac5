#include "dist/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "dist/channel_frames.h"

namespace rlcpp::dist {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kProgressPeriod{100};

struct EntryFrame {
  std::int64_t rank;
  Entry entry;
};
struct MarksFrame {
  std::int64_t rank;
  std::uint64_t begun, completed, notes;
  Roll::Doing doing;
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

// The code that all ranks leave with: that of the error behind the fault.
ExitCode code_of(int number) {
  for (const ExitCode code : {ExitCode::kBadInput, ExitCode::kEnvironment, ExitCode::kCheckFailed}) {
    if (number == static_cast<int>(code)) return code;
  }
  return ExitCode::kFailed;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

}  // namespace

std::string text_of(const Fault& fault) {
  return dump({{"what", fault.what},
               {"because", fault.because},
               {"help", fault.help},
               {"code", static_cast<int>(fault.code)}});
}

std::optional<Fault> fault_in(std::span<const std::byte> payload) {
  const Json json = Json::parse(text_of(payload), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    return Fault{json.value("what", ""), json.value("because", ""), json.value("help", ""),
                 code_of(json.value("code", 0))};
  } catch (const Json::exception&) {  // a stranger's: a field of another type
    return std::nullopt;
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
      if (!hosts()) refusal_ = fault_in(payload);
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
        roll_.mirror_note(static_cast<int>(marks.rank), marks.notes, marks.doing);
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
    case kFault:
      if (const auto fault = fault_in(payload)) on_fault_(*fault);
      return;
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
    // It may come again.
    if (hosts()) std::erase_if(parties_, [&](const Party& party) { return party.process == peer.process; });
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
      peers_[0]->connection.send(
          kMarks, bytes_of(MarksFrame{row.rank, row.begun, row.completed, row.notes, row.doing}));
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
  // The rows say it, with what it entered last: by itself the word would come before that, and to a guest
  // that has entered the last collective rank 0 would seem to have left it out.
  if (hosts()) return;
  const std::lock_guard lock(queue_mutex_);
  queue_.emplace_back(kBye, bytes_of(std::int64_t{rank}));
}

void Channel::failed(const Fault& fault) {
  const std::lock_guard lock(queue_mutex_);
  queue_.emplace_back(kFault, text_of(fault));
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
